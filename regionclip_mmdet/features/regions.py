# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Regions of one image: which are kept, and what is known of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SOURCES = ('localizer', 'detections', 'given')
NMS_MODES = ('none', 'class-agnostic', 'class-wise')
DTYPES = ('float16', 'float32')
# Rows of zeros have no direction; they stay zeros.
_SHORTEST = 1e-12


@dataclass(frozen=True)
class RegionSettings:
    """Settings of ``RegionMaker``.

    Attributes:
        source: ``'localizer'``: its proposals. ``'detections'``: the model's detections; embedded
            is the proposal that a detection came from, as in the official code, not the refined
            box. ``'given'``: boxes that are passed.
        max_regions: Keep the best so many of an image; None: all that the config gives.
        score_thr: Keep those with a larger score. Of detections None means the config's
            threshold, otherwise none.
        nms: ``'none'``, ``'class-agnostic'``: of boxes that overlap only the best is kept, whatever
            it shows, so a region occurs once, or ``'class-wise'``, of detections alone: the
            config's NMS, after which a region can occur under several names. None: class-wise for
            detections, else none.
        nms_iou: Threshold of the class-agnostic NMS.
        dtype: type of the embeddings in files.
        top: number of best class names kept of a region, if there is a vocabulary.
    """

    source: str = 'localizer'
    max_regions: int | None = None
    score_thr: float | None = None
    nms: str | None = None
    nms_iou: float = 0.5
    dtype: str = 'float16'
    top: int = 5

    def __post_init__(self) -> None:
        """Settles ``nms``.

        Raises:
            ValueError: an unknown setting, or that does not fit the source.
        """
        for key, value, known in (
            ('source', self.source, SOURCES),
            ('nms', self.nms, (*NMS_MODES, None)),
            ('dtype', self.dtype, DTYPES),
        ):
            if value not in known:
                raise ValueError(f'{key} must be one of {known}, not {value!r}.')
        detections = self.source == 'detections'
        if self.nms is None:
            object.__setattr__(self, 'nms', 'class-wise' if detections else 'none')
        if self.nms == 'class-wise' and not detections:
            raise ValueError(
                'Class-wise NMS is that of detections. Boxes of other sources have no classes: '
                "take 'class-agnostic' or 'none'."
            )
        if self.nms == 'none' and detections:
            raise ValueError(
                "Detections come with NMS: take 'class-wise' (the config's) or 'class-agnostic'."
            )
        if self.max_regions is not None and self.max_regions < 1:
            raise ValueError(f'max_regions must be positive, not {self.max_regions}.')
        if not 0 < self.nms_iou <= 1:
            raise ValueError(f'nms_iou must lie in (0, 1], not {self.nms_iou}.')
        if self.top < 0:
            raise ValueError(f'top must not be negative: {self.top}.')

    @property
    def needs_scores(self) -> bool:
        """Whether boxes are compared by their scores."""
        return self.nms == 'class-agnostic' or self.score_thr is not None

    def describe(self) -> dict[str, Any]:
        """All settings, JSON."""
        return asdict(self)


@dataclass
class ImageRegions:
    """Regions of one image: in descending score order, given boxes in their order.

    Attributes:
        size: Height and width of the original image.
        boxes: float32 ``(N, 4)``, x1 y1 x2 y2 in pixels of the original image.
        embeddings: float32 ``(N, D)``, raw.
        objectness: float32 ``(N,)``, raw logits of the localizer; NaN: not known.
        scores: float32 ``(N,)``: what regions were selected and ordered by. Of proposals the
            sigmoid of the logits, of detections their scores, of given boxes what came with them;
            NaN: none.
        labels: int32 ``(N,)``, the class of a detection or a given box; -1: none.
        box_ids: int64 ``(N,)``, of given boxes in their file; -1: none.
        top_labels: int32 ``(N, T)``, the best class names of a region, in descending order.
        top_scores: float32 ``(N, T)``, their probabilities: softmax over names and background.
        probs: float32 ``(N, K + 1)``, probabilities of all names and background, where they are
            wanted.
        dropped: Given boxes that were left out because they have no area within the image.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    embeddings: np.ndarray
    objectness: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    box_ids: np.ndarray
    top_labels: np.ndarray
    top_scores: np.ndarray
    probs: np.ndarray | None = None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.boxes)


def normalized(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1, float32 ``(N, D)``, and the lengths they had, float32 ``(N,)``."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    norms = np.linalg.norm(embeddings, axis=1)
    return embeddings / np.maximum(norms, _SHORTEST)[:, None], norms
