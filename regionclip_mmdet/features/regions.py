# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is known of the regions of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Rows of zeros have no direction; they stay zeros.
_SHORTEST = 1e-12


@dataclass
class ImageRegions:
    """Regions of one image: by falling score, given boxes in the order they were given in.

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
        top_labels: int32 ``(N, T)``, the best names of a region, by falling probability.
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
