# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detections of the same place put together: one box with several names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NamedRegion:
    """A box and what it may be.

    Attributes:
        box: ``(x1, y1, x2, y2)``.
        names: Distinct, the best first.
        scores: One per name.
    """

    box: tuple[float, float, float, float]
    names: tuple[str, ...]
    scores: tuple[float, ...]


def group_regions(
    boxes: np.ndarray,
    names: Sequence[str],
    scores: np.ndarray,
    topk: int | None = None,
    iou: float = 1.0,
) -> list[NamedRegion]:
    """Put detections of one box together.

    Class-wise NMS gives a region once for every name that it lets pass; drawn one by one, their
    outlines and labels would lie on each other.

    Args:
        boxes: ``(N, 4)``.
        names: ``N`` names.
        scores: ``(N,)``.
        topk: So many names per region at most; None: all.
        iou: 1: equal boxes only. Smaller: boxes, too, whose IoU with the best one of a region is
            at least this; the region has the place of its best one.

    Returns:
        Regions in descending order of their best score.

    Raises:
        ValueError: Numbers that do not fit, or ``topk`` or ``iou`` is not positive.
    """
    boxes, scores = np.asarray(boxes, dtype=float).reshape(-1, 4), np.asarray(scores, dtype=float)
    if not len(boxes) == len(names) == len(scores):
        raise ValueError(f'{len(boxes)} boxes, {len(names)} names and {len(scores)} scores')
    if not 0 < iou <= 1 or (topk is not None and topk < 1):
        raise ValueError(f'topk must be at least 1 and 0 < iou <= 1, not {topk} and {iou}')
    left = np.argsort(-scores, kind='stable')
    regions = []
    while len(left):
        best = boxes[left[0]]
        same = (boxes[left] == best).all(1)
        if iou < 1:
            same |= _iou(best, boxes[left]) >= iou
        regions.append(_region(best, [(names[i], float(scores[i])) for i in left[same]], topk))
        left = left[~same]
    return regions


def _region(box: np.ndarray, named: list[tuple[str, float]], topk: int | None) -> NamedRegion:
    best: dict[str, float] = {}
    for name, score in named:  # in descending score order: the first one of a name is its best
        best.setdefault(name, score)
    kept = list(best.items())[:topk]
    return NamedRegion(tuple(box.tolist()), *(tuple(part) for part in zip(*kept)))


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box with others, ``(N,)``; boxes without area overlap nothing."""
    import torch
    from torchvision.ops import box_iou

    values = box_iou(torch.from_numpy(box[None]), torch.from_numpy(others))[0].numpy()
    return np.nan_to_num(values)
