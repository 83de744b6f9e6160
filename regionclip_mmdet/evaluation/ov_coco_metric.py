# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""AP of base, novel and all classes from one COCO evaluation."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval, COCOevalMP
from mmdet.evaluation import OVCocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import load
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from .annotated_images import AnnotatedImages
from .precision import AREAS, IOU_50, class_groups, mean_of_valid, standard_items
from .tested_images import ComparesImagesOfPairs, ImageIdentity

_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


class _LeavesOut(COCOeval):
    """pycocotools' evaluation, in which objects with 'left_out' are ignored.

    Like crowds, they need not be found, and are not wrong to be found. pycocotools itself knows
    crowds alone, and takes no notice of ``"ignore"``.
    """

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for one in objects:
                one['ignore'] = one['left_out']


class _LeavesOutMP(_LeavesOut, COCOevalMP):
    pass


@METRICS.register_module()
class OVCocoAPMetric(ComparesImagesOfPairs, OVCocoMetric):
    """AP50 of novel, base and all classes, as the official evaluation of OV-COCO computes it.

    One evaluation over all classes (the generalized setting); a group's AP50 is the mean of the
    valid precision entries of its classes at IoU 0.5. It differs from mmdet's ``OVCocoMetric``:

    * At most ``max_dets`` detections per image and class enter every number. mmdet's default takes
      1000 for ``novel_ap50`` and ``bbox_mAP_50`` but 100 for ``bbox_mAP``.
    * Boxes and masks have results of their own.
    * ``base_classes`` or ``novel_classes`` may be empty; mmdet would take *all* classes then.
    * Numbers are not rounded to three digits.
    * A run without a single detection has the results 0, not none.
    * Objects with ``"ignore": 1`` need not be found, and are not wrong to be found.
    * Ids may be anything (0, text, ...); the file is checked when the metric is built.
    * Only the images that were tested count: a part is evaluated as a part, and the log says so.

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

    Raises:
        FileNotFoundError: No annotation file.
        ValueError: Unknown ``metric``; the annotation file is damaged, or lacks the masks that
            'segm' needs.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = 'bbox',
        max_dets: int = 100,
        classwise: bool = False,
        **kwargs: Any,
    ) -> None:
        kinds = self.kinds_of(metric)
        super().__init__(
            ann_file=None,
            metric=kinds,
            classwise=classwise,
            proposal_nums=(max_dets,),
            **kwargs,
        )
        self._masks = "metric='segm'" if 'segm' in kinds else None
        self._truth: AnnotatedImages | None = None
        if ann_file is not None:
            who = type(self).__name__
            self._truth = AnnotatedImages.read(ann_file, who, self.backend_args, self._masks)
            self.known_images = (ann_file, self._truth.images)
            self._coco_api = _api(self._truth)  # without one mmdet takes the boxes of the samples

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the results.

        Args:
            results: Pairs of ground truth and predictions, as ``process`` keeps them.

        Raises:
            ValueError: The annotation file lacks a class of the dataset; there are no masks; the
                images are not those of the file; none was tested.
        """
        images: list[ImageIdentity] = [truth['image'] for truth, _ in results]
        self.compare_images(images, turned=True)
        truths, predictions = zip(*results, strict=True)
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, 'results'))
            truth = self._truth
            if truth is None:
                content = {'annotations': [], **load(self.gt_to_coco_json(truths, prefix))}
                truth = AnnotatedImages(content, 'the boxes of the samples', self._masks)
            numbers = truth.numbers_of(self.dataset_meta, 'OVCocoAPMetric')
            self.cat_ids = [truth.categories[number - 1]['id'] for number in numbers]
            files = self.results2json(predictions, prefix)
            logger: MMLogger = MMLogger.get_current_instance()
            if self.format_only:
                logger.info(f'results are saved in {Path(prefix).parent}')
                return {}
            tested = [truth.numbers[image.id] for image in images]
            own = dict(zip(self.cat_ids, numbers, strict=True))
            metrics: dict[str, float] = {}
            for kind in self.metrics:
                if kind not in files:
                    raise ValueError(f'{kind} is to be evaluated, but the predictions have none.')
                detections = load(files[kind])
                for found in detections:
                    found['image_id'] = truth.numbers[found['image_id']]
                    found['category_id'] = own[found['category_id']]
                table = self._precision(_api(truth), detections, kind, tested, numbers)
                found = self._results(table, self.dataset_meta)
                metrics.update({f'{kind}_{name}': value for name, value in found.items()})
                if self.classwise:
                    logger.info(f'{kind}\n{self._classwise_table(table)}')
        return metrics

    def result_keys(self, meta: Mapping[str, Any]) -> list[str]:
        """Names of the results, without prefix, of a dataset with this metainfo."""
        if self.format_only:
            return []
        empty = np.full((10, 1, len(meta['classes']), len(AREAS)), -1.0)
        return [f'{kind}_{name}' for kind in self.metrics for name in self._results(empty, meta)]

    def _precision(
        self,
        truth: COCO,
        detections: list[dict],
        kind: str,
        images: Sequence[int],
        categories: Sequence[int],
    ) -> np.ndarray:
        """Precision ``(IoU, recall, label, area)``."""
        if kind == 'segm':
            for detection in detections:  # with boxes, their areas would decide on small and large
                detection.pop('bbox')
        with contextlib.redirect_stdout(io.StringIO()):
            if detections:
                found = truth.loadRes(detections)
            else:
                found = COCO()
                found.dataset = {**truth.dataset, 'annotations': []}
                found.createIndex()
        evaluator = (_LeavesOutMP if self.use_mp_eval else _LeavesOut)(truth, found, kind)
        evaluator.params.imgIds = list(images)
        evaluator.params.catIds = list(categories)
        evaluator.params.iouThrs = np.asarray(self.iou_thrs)
        evaluator.params.maxDets = list(self.proposal_nums)
        evaluator.evaluate()
        evaluator.accumulate()
        # pycocotools sorts the ids
        order = np.searchsorted(np.sort(categories), categories)
        return evaluator.eval['precision'][..., -1][:, :, order]

    @staticmethod
    def _results(table: np.ndarray, meta: Mapping[str, Any]) -> dict[str, float]:
        groups = class_groups(meta)
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


def _api(truth: AnnotatedImages) -> COCO:
    api = COCO()
    api.dataset = truth.dataset()
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api
