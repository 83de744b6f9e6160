# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Autocast on a CPU: whether it is on, and masks that old versions of torch do not cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def cpu_autocast_is_on() -> bool:
    """Whether operations on a CPU run in a reduced type."""
    import torch

    if _is_2_4():
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()  # deprecated since


def cast_masks_under_cpu_autocast(model: nn.Module) -> None:
    """Let a transformer with float masks run under CPU autocast, where torch does not.

    Scaled dot-product attention wants mask and queries of one type. Autocast on a CPU reduces the
    queries, but leaves the mask as it is up to torch 2.1, which is an error there. From 2.4 on
    nothing is done.

    Args:
        model: Its ``nn.MultiheadAttention`` modules are called with ``attn_mask`` by keyword.
    """
    from torch import nn

    if _is_2_4():
        return
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(_cast_mask, with_kwargs=True)


def _cast_mask(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    import torch

    mask = kwargs.get('attn_mask')
    if mask is None or mask.is_cuda or not cpu_autocast_is_on():
        return None
    return args, {**kwargs, 'attn_mask': mask.to(torch.get_autocast_cpu_dtype())}


def _is_2_4() -> bool:
    import torch
    from packaging.version import Version

    return Version(torch.__version__) >= Version('2.4')
