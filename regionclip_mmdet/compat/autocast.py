# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Autocast on a CPU: whether it is on, and masks that old versions of torch do not cast."""

from __future__ import annotations

from typing import Any

import torch
from packaging.version import Version
from torch import nn


def cpu_autocast_is_on() -> bool:
    """Whether operations on a CPU run in a reduced type; asked as the version of torch wants it."""
    if Version(torch.__version__) >= Version('2.4'):
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()


def cast_masks_under_cpu_autocast(model: nn.Module) -> None:
    """Let a transformer with float masks run under CPU autocast, where torch does not.

    Scaled dot-product attention wants mask and queries of one type. Autocast on a CPU reduces the
    queries, but leaves the mask as it is up to torch 2.1, which is an error there. From 2.4 on,
    where the question asked here is deprecated, nothing is done.

    Args:
        model: Its ``nn.MultiheadAttention`` modules are called with ``attn_mask`` by keyword.
    """
    if Version(torch.__version__) >= Version('2.4'):
        return
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(_cast_mask, with_kwargs=True)


def _cast_mask(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    mask = kwargs.get('attn_mask')
    if mask is None or mask.is_cuda or not cpu_autocast_is_on():
        return None
    return args, {**kwargs, 'attn_mask': mask.to(torch.get_autocast_cpu_dtype())}
