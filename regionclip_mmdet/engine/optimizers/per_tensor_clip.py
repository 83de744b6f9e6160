# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Gradient clipping of each parameter tensor by its own norm, as in official pretraining."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

PER_TENSOR = 'per_tensor_norm'


@torch.no_grad()
def clip_grad_norm_per_tensor(
    parameters: Iterable[nn.Parameter], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scale down each gradient whose own norm exceeds a limit.

    ``torch.nn.utils.clip_grad_norm_`` limits the norm of all gradients together, so that one
    exploding tensor stops the others from learning; here each is limited by itself.

    Args:
        parameters: Parameters, with gradients of any shape or none.
        max_norm: Largest norm a gradient may keep.
        norm_type: Order of the norm.

    Returns:
        The largest norm before clipping, a scalar.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch.stack([torch.linalg.vector_norm(g.float(), norm_type) for g in gradients])
    # the guard of torch's own clipping, so that results agree with it
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient, factor in zip(gradients, factors):
        gradient.mul_(factor.to(gradient.dtype))
    return norms.max()


class _PerTensorClip(OptimWrapper):
    """Adds ``clip_grad=dict(type='per_tensor_norm', max_norm=...)`` to an optimizer wrapper."""

    def __init__(self, *args: Any, clip_grad: dict | None = None, **kwargs: Any) -> None:
        per_tensor = (clip_grad or {}).get('type') == PER_TENSOR
        if per_tensor:
            clip_grad = {**(clip_grad or {}), 'type': 'norm'}
        super().__init__(*args, clip_grad=clip_grad, **kwargs)
        if per_tensor:
            # mmengine calls it where a global norm is clipped: once per update, after gradients
            # were accumulated and, in mixed precision, unscaled
            self.clip_func = clip_grad_norm_per_tensor
            self.grad_name = 'largest_grad_norm'


@OPTIM_WRAPPERS.register_module()
class PerTensorClipOptimWrapper(_PerTensorClip):
    """mmengine's ``OptimWrapper`` that can clip each parameter tensor by its own norm.

    Args:
        optimizer: As in mmengine.
        accumulative_counts: As in mmengine.
        clip_grad: ``dict(type='per_tensor_norm', max_norm=5.0)``, or what mmengine takes.
    """


@OPTIM_WRAPPERS.register_module()
class PerTensorClipAmpOptimWrapper(_PerTensorClip, AmpOptimWrapper):
    """The same in mixed precision; gradients are unscaled before they are clipped.

    Args:
        loss_scale: As in mmengine's ``AmpOptimWrapper``.
        dtype: ``'float16'`` or ``'bfloat16'``.
        optimizer: As in mmengine.
        accumulative_counts: As in mmengine.
        clip_grad: ``dict(type='per_tensor_norm', max_norm=5.0)``, or what mmengine takes.
    """
