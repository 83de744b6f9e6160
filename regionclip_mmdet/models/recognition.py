# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The score of a region: its embedding compared with those of a vocabulary.

``softmax(cos(region, text) / temperature)``, with a background whose logit is 0 (RegionCLIP,
sections 3.3 and 3.4), in float32 from the normalization on: at temperature 0.01 a bfloat16 cosine
would be off by up to 0.4 logits.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits computed at a time: 16 MB of float32 for each of the few copies that softmax and fusion
# make, whatever the number of class names.
LOGITS_AT_A_TIME = 1 << 22


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return x if x.dtype == torch.float64 else x.float()


def unit_vectors(x: Tensor) -> Tensor:
    """Embeddings ``(..., D)`` divided by their norms, in float32 (float64 stays float64)."""
    return F.normalize(at_least_float32(x), dim=-1)


def cosine_logits(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """``cos(x_i, y_j) / temperature``, whatever autocast says.

    Args:
        x: Embeddings ``(N, D)``, any norm.
        y: Embeddings ``(M, D)``, any norm.
        temperature: Divisor of the cosines.

    Returns:
        Logits ``(N, M)``, float32 (float64 stays float64).
    """
    with torch.autocast(x.device.type, enabled=False):
        return unit_vectors(x) @ unit_vectors(y).t() / temperature


def region_logits(
    regions: Tensor, text: Tensor, temperature: float, background: bool = True
) -> Tensor:
    """Logits of regions for every class name and, in the last column, background.

    Args:
        regions: Region embeddings ``(R, D)``, any norm.
        text: Text embeddings ``(K, D)``, any norm.
        temperature: Divisor of the cosines.
        background: Whether there is a background column, which is exactly 0.

    Returns:
        ``(R, K + 1)``, or ``(R, K)`` without background; float32 (float64 stays float64).
    """
    logits = cosine_logits(regions, text, temperature)
    return F.pad(logits, (0, 1)) if background else logits


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over class names and background, in float32 (float64 stays float64)."""
    return at_least_float32(logits).softmax(-1)


def region_probabilities(
    regions: Tensor, text: Tensor, temperature: float, background: bool = True
) -> Tensor:
    """Softmax of ``region_logits``: ``(R, K + 1)``, or ``(R, K)`` without background."""
    return probabilities(region_logits(regions, text, temperature, background))


def region_chunks(num_regions: int, num_names: int) -> Iterator[slice]:
    """Rows of regions to be scored at a time, so that memory does not grow with their number.

    Regions are independent of each other until NMS. Of no regions there is one empty chunk.

    Args:
        num_regions: ``R``.
        num_names: ``K``.
    """
    step = max(1, LOGITS_AT_A_TIME // (num_names + 1))
    for start in range(0, max(num_regions, 1), step):
        yield slice(start, start + step)
