# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS AP by frequency, with the usual limit of detections or as fixed AP."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lvis import LVIS, LVISEval, LVISResults
from lvis.eval import Params
from mmdet.evaluation import LVISMetric
from mmdet.registry import METRICS

from .. import fileio
from ..datasets.checks import class_names
from ..datasets.preparation import read_image_ids
from .annotated_images import AnnotatedImages
from .lvis_lists import category_frequencies, federated_lists
from .precision import AREAS, FREQUENCIES, IOU_50, mean_of_valid, standard_items
from .tested_images import ComparesImagesOfPairs

_ITEMS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')


@METRICS.register_module()
class OVLVISMetric(ComparesImagesOfPairs, LVISMetric):
    """AP of LVIS: rare (novel), common and frequent classes, and all.

    The numbers are those of the ``lvis`` package; mmdet's ``LVISMetric`` rounds them to three
    digits, has no AP50 by frequency, and sorts masks into small, medium and large by the areas of
    their boxes. Objects with ``"ignore": 1``, and crowds, which LVIS itself does not have, need not
    be found and are not wrong to be found. Ids may be anything; only images that were tested count.

    * *Standard AP*: the best ``max_per_image=300`` detections of each image.
    * *Fixed AP* (Dave et al., "Evaluating Large-Vocabulary Object Detectors: The Devil is in the
      Details", 2021): the best 10,000 of each class over the whole dataset, however many of an
      image: ``max_per_image=None, max_per_class=10000``. The detector must output more than 300
      an image for it to make a difference (``test_cfg.rcnn.max_per_img``, ``score_thr``).
    * *Minival*: ``image_ids``, a file with the ids of the images that count. It can stand beside a
      metric of all images in one evaluation, under another ``prefix``.

    Results, with the prefix 'lvis/': ``bbox_AP``, ``bbox_AP50``, ``bbox_AP75``, ``bbox_APs``,
    ``bbox_APm``, ``bbox_APl``, ``bbox_APr``, ``bbox_APc``, ``bbox_APf``, ``bbox_APr50``,
    ``bbox_APc50``, ``bbox_APf50``; the same with ``segm_`` for masks. -1 without objects. Without
    frequencies in the file those by frequency are left out.

    Args:
        ann_file: LVIS-format file with all classes of the dataset. Every image needs
            ``neg_category_ids`` and ``not_exhaustive_category_ids``; ``frequency`` of categories
            is derived from ``image_count`` if it is missing.
        metric: 'bbox', 'segm' or a list of both.
        max_per_image: See above; None for no limit.
        max_per_class: See above; None for no limit.
        image_ids: A file: JSON (a list of ids, or ``images`` with ``id``) or text, one id a line.
        **kwargs: ``format_only``, ``outfile_prefix``, ``backend_args``, ``collect_device`` and
            ``prefix`` as in mmdet.

    Raises:
        FileNotFoundError: No annotation file.
        ValueError: Unknown ``metric``; an annotation file that is damaged, no LVIS file, or
            without the masks that 'segm' needs; ``image_ids`` that it does not have.
    """

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        max_per_image: int | None = 300,
        max_per_class: int | None = None,
        image_ids: str | None = None,
        **kwargs: Any,
    ) -> None:
        kinds = self.kinds_of(metric)
        super().__init__(ann_file=None, metric=kinds, **kwargs)
        self.max_per_image = max_per_image
        self.max_per_class = max_per_class
        masks = "metric='segm'" if 'segm' in kinds else None
        self._truth = AnnotatedImages.read(ann_file, type(self).__name__, self.backend_args, masks)
        self.known_images = (ann_file, self._truth.images)
        self.frequencies = category_frequencies(self._truth.categories, ann_file)
        self._lvis_api = _api(self._truth, self.frequencies)
        self.cat_ids = [category['id'] for category in self._truth.categories]
        self.img_ids = list(self._truth.images)
        if image_ids is not None:
            wanted = read_image_ids(image_ids)
            unknown = sorted(wanted - self._truth.images.keys())
            if unknown:
                raise ValueError(
                    f'OVLVISMetric: {len(unknown)} of {len(wanted)} ids of {image_ids} are not in '
                    f'{ann_file}, e.g. {unknown[:5]}.'
                )
            self.img_ids = sorted(wanted)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the results.

        Args:
            results: Pairs of ground truth and predictions, as ``process`` keeps them.

        Raises:
            ValueError: The file has other classes than the dataset; there are no masks; the
                images are not those of the file; none was tested.
        """
        classes = class_names(self.dataset_meta, 'OVLVISMetric')
        if len(classes) != len(self.cat_ids):
            raise ValueError(
                f'OVLVISMetric: the annotation file has {len(self.cat_ids)} categories, the '
                f'dataset {len(classes)} classes. Give metric and dataset the same file.'
            )
        names = [category['name'] for category in self._truth.categories]
        # one of LVIS' own names is spelled otherwise in mmdet's list
        if sorted(classes) == sorted(names) and list(classes) != names:
            raise ValueError(
                f'OVLVISMetric: {self._truth.path} has its categories in another order than the '
                'dataset its classes. Give metric and dataset the same file.'
            )
        images = [truth['image'] for truth, _ in results]
        self.compare_images(images, turned=True)
        tested = {image.id for image in images}
        counted = {id: self._truth.numbers[id] for id in self.img_ids if id in tested}
        if not counted:
            raise ValueError('OVLVISMetric: no image that counts was tested.')
        predictions = [found for _, found in results if found['img_id'] in counted]
        metrics: dict[str, float] = {}
        for kind in self.metrics:
            detections = self._detections(predictions, kind)
            if self.outfile_prefix is not None:
                # the masks' run lengths are bytes
                text = json.dumps(detections, default=bytes.decode)
                fileio.write_text(f'{self.outfile_prefix}.{kind}.json', text)
            if not self.format_only:
                table = self._precision(detections, kind, list(counted.values()))
                found = self._results(table)
                metrics.update({f'{kind}_{name}': value for name, value in found.items()})
        return metrics

    def result_keys(self, meta: Mapping[str, Any]) -> list[str]:
        """Names of the results, without prefix."""
        if self.format_only:
            return []
        empty = np.full((10, 1, len(self.cat_ids), len(AREAS)), -1.0)
        return [f'{kind}_{name}' for kind in self.metrics for name in self._results(empty)]

    def _detections(self, predictions: Sequence[dict], kind: str) -> list[dict[str, Any]]:
        """Detections as lvis wants them, at most ``max_per_class`` of each class."""
        if kind == 'segm' and predictions and 'masks' not in predictions[0]:
            raise ValueError('segm is to be evaluated, but the predictions have no masks.')
        key = 'mask_scores' if kind == 'segm' and 'mask_scores' in predictions[0] else 'scores'
        if not predictions:
            return []
        scores = np.concatenate([found[key] for found in predictions])
        labels = np.concatenate([found['labels'] for found in predictions])
        kept = _best_of_each(scores, labels, self.max_per_class)
        is_kept = iter(kept)
        detections = []
        for found in predictions:
            boxes = found['bboxes'].astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            for row, box in enumerate(boxes):
                if not next(is_kept):
                    continue
                detection = {
                    'image_id': found['img_id'],
                    'category_id': self.cat_ids[found['labels'][row]],
                    'score': float(found[key][row]),
                }
                if kind == 'bbox':
                    detection['bbox'] = box.tolist()
                else:  # with boxes, their areas would decide on small and large
                    detection['segmentation'] = found['masks'][row]
                detections.append(detection)
        return detections

    def _precision(self, detections: list[dict], kind: str, images: Sequence[int]) -> np.ndarray:
        """Precision ``(IoU, recall, category in the order of the file, area)``."""
        limit = -1 if self.max_per_image is None else self.max_per_image
        if not detections:  # the package cannot do without
            return self._precision_of_nothing(images)
        numbered = [
            {
                **detection,
                'image_id': self._truth.numbers[detection['image_id']],
                'category_id': self._truth.category_numbers[detection['category_id']],
            }
            for detection in detections
        ]
        found = LVISResults(self._lvis_api, numbered, max_dets=limit)
        evaluator = LVISEval(self._lvis_api, found, kind)
        evaluator.params.img_ids = images
        evaluator.params.max_dets = limit
        evaluator.evaluate()
        evaluator.accumulate()
        return evaluator.eval['precision']

    def _precision_of_nothing(self, images: Sequence[int]) -> np.ndarray:
        """Precision without any detection: 0 for classes that have objects."""
        params = Params('bbox')
        table = np.full((len(params.iou_thrs), 1, len(self.cat_ids), len(params.area_rng)), -1.0)
        annotations = self._lvis_api.get_ann_ids(img_ids=images)
        for annotation in self._lvis_api.load_anns(annotations):
            for place, (low, high) in enumerate(params.area_rng):
                if low <= annotation['area'] <= high and not annotation['ignore']:
                    table[:, :, annotation['category_id'] - 1, place] = 0.0
        return table

    def _results(self, table: np.ndarray) -> dict[str, float]:
        metrics = standard_items(table, _ITEMS)
        if self.frequencies is None:
            return metrics
        parts = {
            letter: table[:, :, np.flatnonzero(np.array(self.frequencies) == letter), 0]
            for letter in FREQUENCIES
        }
        metrics.update({f'AP{letter}': mean_of_valid(part) for letter, part in parts.items()})
        metrics.update(
            {f'AP{letter}50': mean_of_valid(part[IOU_50]) for letter, part in parts.items()}
        )
        return metrics


def _best_of_each(scores: np.ndarray, labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Which of ``N`` detections are among the best ``limit`` of their label; bool ``(N,)``."""
    kept = np.ones(len(scores), dtype=bool)
    if limit is None:
        return kept
    # by label, then in descending score order; equal ones by place
    order = np.lexsort((-scores, labels))
    first = np.searchsorted(labels[order], labels[order], side='left')
    kept[order] = np.arange(len(order)) - first < limit
    return kept


class _NumberedLVIS(LVIS):
    """lvis' view of a file that was read already."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.logger = logging.getLogger(__name__)
        self.dataset = dataset
        self._create_index()


def _api(truth: AnnotatedImages, frequencies: Sequence[str] | None) -> LVIS:
    dataset = truth.dataset()
    for image, lists in zip(dataset['images'], federated_lists(truth), strict=True):
        image.update(lists)
    for annotation in dataset['annotations']:
        annotation['ignore'] = annotation['left_out']
    # lvis sorts its tables by them; those of a file without any are not used
    letters = frequencies or ['f'] * len(dataset['categories'])
    for category, letter in zip(dataset['categories'], letters, strict=True):
        category['frequency'] = letter
    return _NumberedLVIS(dataset)
