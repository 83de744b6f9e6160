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
    """``cos(x_i, y_j) / temperature``, in float32 from the normalisation on.

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
        x, y = at_least_float32(x), at_least_float32(y)
        return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).t() / temperature
