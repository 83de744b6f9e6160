# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Soft-NMS (Bodla et al., 2017) over all classes at once, stopping after the detections wanted."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Decay = Callable[[np.ndarray], np.ndarray]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    method: Literal['gaussian', 'linear', 'hard'] = 'gaussian',
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 0.001,
    max_num: int | None = None,
    class_offset: Literal['float32', 'exact'] = 'float32',
    extent: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Greedy: take the best box of all, decay its class by the overlap with it, repeat.

    The scores taken never rise, so the first ``max_num`` picks are final and the rest need not be
    computed; and only boxes of one class overlap, so a pick touches its class alone. The result
    is that of the full loop over all boxes.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``, not negative. They are not pruned before the first pick: a best
            box below ``min_score`` is still returned.
        labels: integers ``(N,)``.
        method: decay by the IoU: ``'gaussian'`` ``exp(-iou^2 / sigma)``; ``'linear'`` ``1 - iou``
            where it exceeds ``iou_threshold``; ``'hard'`` 0 where it reaches ``iou_threshold``
            (standard NMS suppresses only beyond it).
        sigma: width of the Gaussian.
        iou_threshold: for ``'linear'`` and ``'hard'``.
        min_score: boxes whose score falls to this or below are dropped.
        max_num: number of boxes wanted; None or a number below 1: all.
        class_offset: ``'float32'`` separates classes as the official code does, by moving each
            class aside in float32, which rounds the coordinates of high labels (1/8 pixel at label
            1200) and with them the scores of small boxes. ``'exact'`` compares coordinates as
            they are.
        extent: largest coordinate of all boxes where only some are given: what ``'float32'``
            moves classes by depends on it. None: that of the boxes.

    Returns:
        Indices into the input in the order of picking, and the decayed scores, which never rise;
        both on the input's device.
    """
    decay = _decay_function(method, sigma, iou_threshold)
    if class_offset not in ('float32', 'exact'):
        raise ValueError(f"class_offset must be 'float32' or 'exact', not {class_offset!r}")
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(
            f'{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels do not match'
        )
    if not bool(scores.isfinite().all()):
        raise ValueError('scores must be finite; remove NaN and infinite rows before soft-NMS')
    # A long chain of tiny dependent steps: quickest on the CPU, whatever the input's device.
    box_array, groups = _separate_classes(boxes, labels, class_offset, extent)
    classes = _split(box_array, scores.detach().float().cpu().numpy(), groups)
    limit = max_num if max_num is not None and max_num > 0 else len(boxes)

    # Best box of each class; equal scores go by index, as an argmax over all boxes would.
    queue = [group.best(number) for number, group in enumerate(classes)]
    heapq.heapify(queue)
    keep: list[int] = []
    kept_scores: list[float] = []
    while queue and len(keep) < limit:
        negative_score, index, number = heapq.heappop(queue)
        if keep and -negative_score <= min_score:
            break
        keep.append(index)
        kept_scores.append(-negative_score)
        classes[number].take_best(decay, min_score)
        if len(classes[number]) > 0:
            heapq.heappush(queue, classes[number].best(number))
    return (
        torch.tensor(keep, dtype=torch.long, device=boxes.device),
        torch.tensor(kept_scores, dtype=torch.float32, device=boxes.device),
    )


@dataclass
class _Class:
    """The surviving boxes of one class, in the order of the input."""

    boxes: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, number: int) -> tuple[float, int, int]:
        """Heap entry: negative best score, index into the input, number of the class."""
        top = int(self.scores.argmax())
        return -float(self.scores[top]), int(self.indices[top]), number

    def take_best(self, decay: Decay, min_score: float) -> None:
        """Remove the best box, decay the others by their IoU with it, and prune."""
        top = int(self.scores.argmax())
        scores = self.scores * decay(self._iou_with(top))
        survives = scores > min_score
        survives[top] = False
        self.boxes, self.areas = self.boxes[survives], self.areas[survives]
        self.scores, self.indices = scores[survives], self.indices[survives]

    def _iou_with(self, row: int) -> np.ndarray:
        corner = np.maximum(self.boxes[:, :2], self.boxes[row, :2])
        sides = (np.minimum(self.boxes[:, 2:], self.boxes[row, 2:]) - corner).clip(min=0)
        overlap = sides[:, 0] * sides[:, 1]
        union = self.areas + self.areas[row] - overlap
        return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _decay_function(method: str, sigma: float, iou_threshold: float) -> Decay:
    if method == 'gaussian':
        return lambda iou: np.exp(-(iou * iou) / np.float32(sigma))
    if method == 'linear':
        return lambda iou: np.where(iou > iou_threshold, 1 - iou, np.float32(1))
    if method == 'hard':
        return lambda iou: (iou < iou_threshold).astype(np.float32)
    raise ValueError(f"method must be 'gaussian', 'linear' or 'hard', not {method!r}")


def _separate_classes(
    boxes: Tensor, labels: Tensor, class_offset: str, extent: float | Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 coordinates ``(N, 4)`` and, per box, the group whose boxes may overlap it."""
    boxes, labels = boxes.detach().float().cpu(), labels.cpu()
    groups = labels
    if class_offset == 'float32' and len(boxes) > 0:
        if bool((boxes < 0).any()):
            # The offset keeps classes apart only where coordinates are not negative.
            groups = torch.zeros_like(labels)
        far = boxes.max() if extent is None else torch.as_tensor(extent).float().cpu()
        boxes = boxes + labels.float()[:, None] * (far + 1)
    return boxes.numpy(), groups.numpy()


def _split(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> list[_Class]:
    """One :class:`_Class` per distinct group."""
    if len(groups) == 0:
        return []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(groups, kind='stable')
    borders = np.flatnonzero(np.diff(groups[order])) + 1
    return [
        _Class(boxes[rows], areas[rows], scores[rows], rows) for rows in np.split(order, borders)
    ]
