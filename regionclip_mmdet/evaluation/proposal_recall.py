# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Recall of class-agnostic proposals: of all objects, base and novel, small and large ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.registry import METRICS

from .annotated_images import AnnotatedImages
from .tested_images import ComparesImages, ImageIdentity


def match_proposals(gt_boxes: np.ndarray, proposals: np.ndarray) -> np.ndarray:
    """Overlap that each ground-truth box gets when every proposal serves one box at most.

    Pairs are taken greedily in descending order of IoU, as in mmdet's and detectron2's recall.

    Args:
        gt_boxes: Shape ``(G, 4)``.
        proposals: Shape ``(P, 4)``.

    Returns:
        IoU of each ground-truth box with its proposal, 0 where none is left; shape ``(G,)``.
    """
    best = np.zeros(len(gt_boxes))
    if len(gt_boxes) == 0 or len(proposals) == 0:
        return best
    ious = bbox_overlaps(gt_boxes, proposals)
    for _ in range(min(ious.shape)):
        row, column = np.unravel_index(ious.argmax(), ious.shape)
        best[row] = ious[row, column]
        ious[row, :] = -1
        ious[:, column] = -1
    return best


@METRICS.register_module()
class ProposalRecallMetric(ComparesImages):
    """Recall of the top-scoring boxes of a class-agnostic localizer.

    mmdet's ``CocoMetric(metric='proposal_fast')`` computes the same AR, but builds a ragged array,
    which NumPy >= 1.24 refuses; and it cannot tell base from novel objects.

    Results, with the prefix 'proposals/', for every n of ``proposal_nums``: ``AR@n`` (mean over
    IoU 0.5, 0.55, ..., 0.95) and ``R50@n`` (IoU 0.5); then the same of groups of objects:
    ``base_AR@n``, ``novel_R50@n`` and so on if the dataset's metainfo has ``base_classes`` and
    ``novel_classes``, and ``small_...``, ``medium_...``, ``large_...`` (``area`` of the annotation
    below 32 x 32, up to 96 x 96, above). Objects of a group are matched as if there were no others,
    as in detectron2. -1 where there is nothing to find.

    Args:
        ann_file: COCO- or LVIS-format file with the boxes to find. Crowd and ignored boxes do not
            count, and only the images that were tested.
        proposal_nums: How many proposals per image to use.
        **kwargs: ``collect_device`` and ``prefix`` as in mmengine.

    Raises:
        FileNotFoundError: No annotation file.
        ValueError: It is damaged.
    """

    default_prefix: ClassVar[str | None] = 'proposals'
    IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
    AREAS: ClassVar[dict] = {
        'small': (0, 32**2),
        'medium': (32**2, 96**2),
        'large': (96**2, 1e10),
    }

    def __init__(
        self,
        ann_file: str,
        proposal_nums: Sequence[int] = (100, 300, 1000),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.proposal_nums = sorted(proposal_nums)
        self._truth = AnnotatedImages.read(ann_file, type(self).__name__)
        self.known_images = (ann_file, self._truth.images)
        self._objects: dict[int, list[dict]] = defaultdict(list)
        for found in self._truth.objects:
            if not found['left_out']:
                self._objects[found['image_id']].append(found)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the best boxes of ``pred_instances`` of every sample.

        Raises:
            ValueError: See ``ComparesImages.look_at``.
        """
        images = self.look_at(data_samples)
        for image, sample in zip(images, data_samples, strict=True):
            pred = sample['pred_instances']
            order = pred['scores'].sort(descending=True, stable=True)[1][: self.proposal_nums[-1]]
            self.results.append((image, pred['bboxes'][order].cpu().numpy()))

    def _targets(self, img_id: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes ``(G, 4)``, category numbers ``(G,)`` and areas ``(G,)`` of an image."""
        objects = self._objects[self._truth.numbers[img_id]]
        boxes = np.array([found['bbox'] for found in objects], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        categories = np.array([found['category_id'] for found in objects], dtype=np.int64)
        return boxes, categories, np.array([found['area'] for found in objects], dtype=np.float64)

    def _groups(
        self, categories: np.ndarray, areas: np.ndarray, meta: Mapping[str, Any] | None
    ) -> dict[str, np.ndarray]:
        """Which objects of an image belong to each group; keys are the results' prefixes."""
        groups = {'': np.ones(len(areas), dtype=bool)}
        numbers = self._truth.numbers_by_name
        for name in ('base', 'novel'):
            names = (meta or {}).get(f'{name}_classes')
            if names:
                members = [numbers[n] for n in names if n in numbers]
                groups[f'{name}_'] = np.isin(categories, members)
        for name, (low, high) in self.AREAS.items():
            groups[f'{name}_'] = (areas >= low) & (areas <= high)
        return groups

    def result_keys(self, meta: Mapping[str, Any]) -> list[str]:
        """Names of the results, without prefix, of a dataset with this metainfo."""
        nothing = np.zeros(0)
        return [
            f'{group}{kind}@{number}'
            for group in self._groups(nothing, nothing, meta)
            for number in self.proposal_nums
            for kind in ('AR', 'R50')
        ]

    def compute_metrics(self, results: list[tuple[ImageIdentity, np.ndarray]]) -> dict[str, float]:
        """Recalls over all images seen.

        Raises:
            ValueError: They are not those of the annotation file.
        """
        self.compare_images([image for image, _ in results], turned=True)
        overlaps: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        for image, found in results:
            boxes, categories, areas = self._targets(image.id)
            for name, mask in self._groups(categories, areas, self.dataset_meta).items():
                for number in self.proposal_nums:
                    matched = match_proposals(boxes[mask], found[:number])
                    overlaps[name, number].append(matched)
        metrics: dict[str, float] = {}
        for (name, number), parts in overlaps.items():
            hits = np.concatenate(parts)[:, None] >= self.IOU_THRESHOLDS
            metrics[f'{name}AR@{number}'] = float(hits.mean()) if len(hits) else -1.0
            metrics[f'{name}R50@{number}'] = float(hits[:, 0].mean()) if len(hits) else -1.0
        return metrics
