# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""AP of base, novel and all classes from one COCO evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval, COCOevalMP
from mmdet.evaluation import OVCocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import load
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from .precision import IOU_50, class_groups, mean_of_valid, standard_items

_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class OVCocoAPMetric(OVCocoMetric):
    """AP50 of novel, base and all classes, as the official evaluation of OV-COCO computes it.

    One evaluation over all classes (the generalised setting); a group's AP50 is the mean of the
    valid precision entries of its classes at IoU 0.5. It differs from mmdet's ``OVCocoMetric``:

    * At most ``max_dets`` detections per image and class enter every number. mmdet's default takes
      1000 for ``novel_ap50`` and ``bbox_mAP_50`` but 100 for ``bbox_mAP``.
    * Boxes and masks have results of their own.
    * ``base_classes`` or ``novel_classes`` may be empty; mmdet would take *all* classes then.
    * Numbers are not rounded to three digits.
    * A run without a single detection has the results 0, not none.

    Results, with the prefix 'coco/': ``bbox_novel_ap50``, ``bbox_base_ap50``, ``bbox_all_ap50``,
    ``bbox_novel_ap``, ``bbox_base_ap`` (mean over IoU 0.5 to 0.95) and mmdet's ``bbox_mAP``,
    ``bbox_mAP_50`` (the same as ``bbox_all_ap50``), ``_75``, ``_s``, ``_m``, ``_l``; the same with
    ``segm_`` for masks. Groups without classes are left out; -1 where a group has no objects.

    Args:
        ann_file: COCO-format file with the classes of the dataset; None uses the boxes that
            samples carry.
        metric: 'bbox', 'segm' or a list of both.
        max_dets: Detections per image and class; COCO's and the official number is 100.
        classwise: Log a table of all classes, too.
        **kwargs: ``format_only``, ``outfile_prefix``, ``use_mp_eval``, ``backend_args``,
            ``collect_device`` and ``prefix`` as in mmdet.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = 'bbox',
        max_dets: int = 100,
        classwise: bool = False,
        **kwargs: Any,
    ) -> None:
        kinds = [metric] if isinstance(metric, str) else list(metric)
        unknown = [kind for kind in kinds if kind not in ('bbox', 'segm')]
        if unknown:
            raise ValueError(
                f"OVCocoAPMetric: metric must be 'bbox' or 'segm', not {unknown}; recall of "
                'proposals is ProposalRecallMetric.'
            )
        super().__init__(
            ann_file=ann_file,
            metric=kinds,
            classwise=classwise,
            proposal_nums=(max_dets,),
            **kwargs,
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the results.

        Args:
            results: Pairs of ground truth and predictions, as ``process`` keeps them.

        Raises:
            ValueError: The annotation file lacks a class of the dataset; there are no masks.
        """
        truths, predictions = zip(*results, strict=True)
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, 'results'))
            if self._coco_api is None:
                self._coco_api = COCO(self.gt_to_coco_json(truths, prefix))
            self.cat_ids = self._category_ids()
            files = self.results2json(predictions, prefix)
            logger: MMLogger = MMLogger.get_current_instance()
            if self.format_only:
                logger.info(f'results are saved in {Path(prefix).parent}')
                return {}
            metrics: dict[str, float] = {}
            for kind in self.metrics:
                if kind not in files:
                    raise ValueError(f'{kind} is to be evaluated, but the predictions have none.')
                table = self._precision(load(files[kind]), kind)
                found = self._results(table)
                metrics.update({f'{kind}_{name}': value for name, value in found.items()})
                if self.classwise:
                    logger.info(f'{kind}\n{self._classwise_table(table)}')
        return metrics

    def _category_ids(self) -> list[int]:
        """Category id of each label."""
        known = {category['name']: id for id, category in self._coco_api.cats.items()}
        classes = self.dataset_meta['classes']
        missing = [name for name in classes if name not in known]
        if missing:
            raise ValueError(
                f'OVCocoAPMetric: the annotation file lacks {missing[:5]} ({len(missing)} of '
                f'{len(classes)} classes of the dataset). Give metric and dataset the same file.'
            )
        return [known[name] for name in classes]

    def _precision(self, detections: list[dict], kind: str) -> np.ndarray:
        """Precision ``(IoU, recall, label, area)``."""
        if kind == 'segm':
            for detection in detections:  # with boxes, their areas would decide on small and large
                detection.pop('bbox')
        if detections:
            found = self._coco_api.loadRes(detections)
        else:
            found = COCO()
            found.dataset = {**self._coco_api.dataset, 'annotations': []}
            found.createIndex()
        evaluator = (COCOevalMP if self.use_mp_eval else COCOeval)(self._coco_api, found, kind)
        evaluator.params.catIds = self.cat_ids
        evaluator.params.iouThrs = np.asarray(self.iou_thrs)
        evaluator.params.maxDets = list(self.proposal_nums)
        evaluator.evaluate()
        evaluator.accumulate()
        # pycocotools sorts the ids
        order = np.searchsorted(np.sort(self.cat_ids), self.cat_ids)
        return evaluator.eval['precision'][..., -1][:, :, order]

    def _results(self, table: np.ndarray) -> dict[str, float]:
        groups = class_groups(self.dataset_meta)
        groups = {name: groups[name] for name in ('novel', 'base') if name in groups}
        metrics = {
            f'{name}_ap50': mean_of_valid(table[IOU_50][:, labels, 0])
            for name, labels in groups.items()
        }
        metrics['all_ap50'] = mean_of_valid(table[IOU_50, ..., 0])
        for name, labels in groups.items():
            metrics[f'{name}_ap'] = mean_of_valid(table[:, :, labels, 0])
        return {**metrics, **standard_items(table, _ITEMS)}

    def _classwise_table(self, table: np.ndarray) -> str:
        rows = [['class', 'AP', 'AP50']]
        for label, name in enumerate(self.dataset_meta['classes']):
            whole = table[:, :, label, 0]
            rows.append(
                [name, f'{mean_of_valid(whole):.4f}', f'{mean_of_valid(whole[IOU_50]):.4f}']
            )
        return AsciiTable(rows).table
