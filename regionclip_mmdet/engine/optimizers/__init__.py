# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Optimizer wrappers."""

from .per_tensor_clip import (
    PerTensorClipAmpOptimWrapper,
    PerTensorClipOptimWrapper,
    clip_grad_norm_per_tensor,
)

__all__ = [
    'PerTensorClipAmpOptimWrapper',
    'PerTensorClipOptimWrapper',
    'clip_grad_norm_per_tensor',
]
