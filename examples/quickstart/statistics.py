# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scores of a detection file with standard errors over images.

Images are drawn again with replacement (bootstrap); the spread of the score over such draws is its
standard error. Two models are compared on the same draws, so that what an image adds to both
cancels in their difference.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionclip_mmdet.fileio import read_json

SPLITS = ('novel', 'base', 'all')
SAME_BOX_IOU = 0.9
MAX_DETECTIONS = 1000
RECALL_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Estimate:
    """A score in percent with its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f'{self.value:.1f} ± {self.error:.1f}'


def bootstrap_weights(num_images: int, replicates: int = 200, seed: int = 0) -> np.ndarray:
    """How often each image is drawn: ``(1 + replicates, N)``; row 0 draws each image once."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=replicates)
    return np.concatenate([np.ones((1, num_images), dtype=draws.dtype), draws])


def to_estimate(scores: np.ndarray) -> Estimate:
    """Estimate from the scores of all draws ``(1 + replicates,)``, row 0 being the real data."""
    return Estimate(100 * float(scores[0]), 100 * float(np.nanstd(scores[1:], ddof=1)))


def difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """``second - first`` on the same draws."""
    return to_estimate(second - first)


class DetectionScores:
    """Scores of detections on one annotated set, for the real images and for bootstrap draws.

    Args:
        annotation_file: COCO-format ground truth with every category.
        class_splits: Category names of ``'base'`` and ``'novel'``.
        replicates: Bootstrap draws.
    """

    def __init__(
        self,
        annotation_file: str | Path,
        class_splits: Mapping[str, Sequence[str]],
        replicates: int = 200,
    ) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(str(annotation_file))
        self.image_ids = sorted(self.coco.getImgIds())
        self.weights = bootstrap_weights(len(self.image_ids), replicates)
        self.category_ids = sorted(self.coco.getCatIds())
        names = {cat['name']: cat['id'] for cat in self.coco.loadCats(self.category_ids)}
        self.split_ids = {
            split: {names[name] for name in class_splits[split]} for split in ('base', 'novel')
        }
        self.split_ids['all'] = set(self.category_ids)

    def ap50(self, detection_file: str | Path) -> dict[str, np.ndarray]:
        """AP at IoU 0.5, the mean over a split's categories, for every draw.

        Args:
            detection_file: COCO-format result list (``*.bbox.json``).

        Returns:
            Split name to ``(1 + replicates,)``. Row 0 equals ``OVCocoMetric``'s number.
        """
        detections = read_json(detection_file)
        if not detections:
            return {split: np.zeros(len(self.weights)) for split in SPLITS}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.coco, self.coco.loadRes(detections), 'bbox')
            evaluation.params.iouThrs = np.array([0.5])
            evaluation.params.maxDets = [MAX_DETECTIONS]
            evaluation.params.areaRng = [[0, 1e10]]
            evaluation.params.areaRngLbl = ['all']
            evaluation.evaluate()
        per_image = np.array(evaluation.evalImgs, dtype=object)
        per_image = per_image.reshape(len(self.category_ids), len(self.image_ids))
        table = np.stack([self._category_ap(row) for row in per_image])  # (K, draws)
        return {
            split: np.nanmean(table[[c in ids for c in self.category_ids]], axis=0)
            for split, ids in self.split_ids.items()
        }

    def _category_ap(self, per_image: np.ndarray) -> np.ndarray:
        """AP of one category for every draw; NaN where a draw holds no object of it."""
        scores, matched, image_index = [], [], []
        objects = np.zeros(len(self.image_ids))
        for i, record in enumerate(per_image):
            if record is None:
                continue
            objects[i] = np.sum(np.asarray(record['gtIgnore']) == 0)
            keep = ~np.asarray(record['dtIgnore'][0], dtype=bool)
            scores.append(np.asarray(record['dtScores'])[keep])
            matched.append(np.asarray(record['dtMatches'][0])[keep] > 0)
            image_index.append(np.full(keep.sum(), i))
        total = self.weights @ objects  # (draws,)
        if not scores or total.max() == 0:
            return np.full(len(self.weights), np.nan)
        order = np.argsort(-np.concatenate(scores), kind='mergesort')
        hits = np.concatenate(matched)[order].astype(float)
        counts = self.weights[:, np.concatenate(image_index)[order]]  # (draws, detections)
        return np.array([_interpolated_ap(hits, n, t) for n, t in zip(counts, total)])

    def region_accuracy(self, detection_file: str | Path) -> dict[str, np.ndarray]:
        """Share of annotated boxes whose best-scored name is right, for every draw.

        Args:
            detection_file: Result list of a detector that was given the annotated boxes and kept
                every (box, name) pair.

        Returns:
            Split name to ``(1 + replicates,)``.
        """
        detections = read_json(detection_file)
        by_image: dict[int, list[dict]] = {i: [] for i in self.image_ids}
        for detection in detections:
            by_image[detection['image_id']].append(detection)
        right = np.zeros((len(SPLITS), len(self.image_ids)))
        total = np.zeros_like(right)
        for i, image_id in enumerate(self.image_ids):
            objects = self.coco.imgToAnns[image_id]
            names = best_names(objects, by_image[image_id])
            for annotation, name in zip(objects, names):
                category = annotation['category_id']
                member = np.array([category in self.split_ids[split] for split in SPLITS])
                total[:, i] += member
                right[:, i] += member * (name == category)
        accuracy = (self.weights @ right.T) / np.maximum(self.weights @ total.T, 1)
        return dict(zip(SPLITS, accuracy.T))


def proposal_recall(
    annotation_file: str | Path,
    proposal_file: str | Path,
    class_splits: Mapping[str, Sequence[str]],
) -> dict[str, float]:
    """Percentage of annotated boxes met by a proposal with IoU 0.5 or more, per split.

    Args:
        annotation_file: COCO-format ground truth.
        proposal_file: COCO-format result list; categories are ignored.
        class_splits: Category names of ``'base'`` and ``'novel'``.
    """
    truth = read_json(annotation_file)
    names = {category['id']: category['name'] for category in truth['categories']}
    proposals: dict[int, list] = {image['id']: [] for image in truth['images']}
    for proposal in read_json(proposal_file):
        proposals[proposal['image_id']].append(proposal['bbox'])
    met: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for annotation in truth['annotations']:
        boxes = np.array(proposals[annotation['image_id']], dtype=float).reshape(-1, 4)
        box = np.array([annotation['bbox']], dtype=float)
        hit = bool((box_iou_xywh(box, boxes) >= 0.5).any())
        split = 'base' if names[annotation['category_id']] in class_splits['base'] else 'novel'
        met[split].append(hit)
        met['all'].append(hit)
    return {split: 100 * float(np.mean(hits)) for split, hits in met.items() if hits}


def best_names(objects: Sequence[dict], detections: Sequence[dict]) -> list[int | None]:
    """Category of the best-scored detection lying on each annotated box, ``None`` without one."""
    if not objects or not detections:
        return [None] * len(objects)
    boxes = np.array([annotation['bbox'] for annotation in objects], dtype=float)
    found = np.array([detection['bbox'] for detection in detections], dtype=float)
    scores = np.array([detection['score'] for detection in detections])
    overlap = box_iou_xywh(boxes, found)  # (objects, detections)
    masked = np.where(overlap >= SAME_BOX_IOU, scores, -1.0)
    best = masked.argmax(axis=1)
    return [detections[j]['category_id'] if masked[i, j] >= 0 else None for i, j in enumerate(best)]


def box_iou_xywh(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU ``(N, M)`` of ``(x, y, w, h)`` boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(
        first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:]
    )
    inter = np.clip(high - low, 0, None).prod(axis=2)
    areas = first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None]
    return inter / np.maximum(areas - inter, 1e-9)


def _interpolated_ap(hits: np.ndarray, counts: np.ndarray, total: float) -> float:
    """COCO's 101-point AP of ranked detections, each counted ``counts`` times."""
    if total == 0:
        return float('nan')
    true = np.cumsum(hits * counts)
    false = np.cumsum((1 - hits) * counts)
    recall = true / total
    precision = true / np.maximum(true + false, np.finfo(float).eps)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(recall, RECALL_POINTS, side='left')
    return float(np.append(precision, 0.0)[np.minimum(index, len(precision))].mean())
