# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cosine logits, the one similarity of CLIP and RegionCLIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return x if x.dtype == torch.float64 else x.float()


def cosine_logits(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """``cos(x_i, y_j) / temperature``, in float32 from the normalization on.

    At temperature 0.01 a bfloat16 cosine would be off by up to 0.4 logits, so autocast is switched
    off here.

    Args:
        x: Embeddings ``(N, D)``, any norm.
        y: Embeddings ``(M, D)``, any norm.
        temperature: Divides the cosines.

    Returns:
        Logits ``(N, M)``, float32 (float64 stays float64).
    """
    with torch.autocast(x.device.type, enabled=False):
        return direction_logits(x, F.normalize(at_least_float32(y), dim=-1), temperature)


def direction_logits(x: Tensor, directions: Tensor, temperature: float) -> Tensor:
    """``cosine_logits`` with what is compared already normalized: for many calls with the same.

    Args:
        x: Embeddings ``(N, D)``, any norm.
        directions: Unit vectors ``(M, D)``, float32 or float64.
        temperature: Divides the cosines.

    Returns:
        Logits ``(N, M)``, float32 (float64 stays float64).
    """
    with torch.autocast(x.device.type, enabled=False):
        logits = F.normalize(at_least_float32(x), dim=-1) @ directions.t()
        return logits / temperature
