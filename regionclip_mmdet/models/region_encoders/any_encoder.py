# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a region encoder must offer; ``RegionEncoder``'s own ways of saving work are optional.

A region encoder turns ``(feature map,)`` and RoIs ``(R, 5)`` into embeddings ``(R, D)`` and says
``embed_dim``. For masks it has ``region_maps(feats, rois)``, maps ``(R, C, h, w)``, and may say
``map_channels``. ``split`` and ``embed_and_keep_maps`` of ``RegionEncoder`` save memory and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..backbones.clip_arch import resolve_arch
from .region_encoder import RegionEncoder


def with_arch_of(backbone: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Config of a region encoder, whose ``arch`` follows from its backbone's unless it is given.

    Raises:
        ValueError: Both are given and differ.
    """
    kind = encoder['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    own, given = encoder.get('arch'), backbone.get('arch')
    if not (isinstance(kind, type) and issubclass(kind, RegionEncoder)) or given is None:
        return dict(encoder)
    if own is not None and resolve_arch(own) != resolve_arch(given):
        raise ValueError(
            f'region_encoder.arch is {own!r}, but backbone.arch is {given!r}. Leave the region '
            "encoder's out: it follows from the backbone."
        )
    return {**encoder, 'arch': given}


def check_map_channels(encoder: nn.Module, channels: int) -> None:
    """Refuse a mask head that does not fit an encoder's maps.

    Args:
        encoder: The region encoder.
        channels: Number of channels that the mask head reads.

    Raises:
        ValueError: The encoder has no maps, or says that they have other channels.
    """
    name = type(encoder).__name__
    if not hasattr(encoder, 'region_maps'):
        raise ValueError(
            f'A mask head reads maps of regions, but {name} has no region_maps(feats, rois). Add '
            'it, or leave mask_head out.'
        )
    found = getattr(encoder, 'map_channels', channels)
    if found != channels:
        raise ValueError(
            f'mask_head.in_channels is {channels}, but the maps of this {name} have {found} '
            'channels. Leave in_channels out: they follow from the region encoder.'
        )


def split_regions(encoder: nn.Module, regions: Tensor) -> tuple[Tensor, ...]:
    """Rows that an encoder wants to see at a time."""
    return encoder.split(regions) if hasattr(encoder, 'split') else (regions,)


def embed_and_keep_maps(
    encoder: nn.Module, feats: Sequence[Tensor], rois: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Embed regions and keep some of their maps, in one pass where the encoder can.

    Args:
        encoder: The region encoder.
        feats: ``(feature map,)``.
        rois: ``(R, 5)``.
        keep: ``(R,)`` bool, the regions whose maps are wanted, too.

    Returns:
        Embeddings ``(R, D)`` and maps ``(keep.sum(), C, h, w)``.
    """
    if hasattr(encoder, 'embed_and_keep_maps'):
        return encoder.embed_and_keep_maps(feats, rois, keep)
    maps = [encoder.region_maps(feats, part) for part in split_regions(encoder, rois[keep])]
    return encoder(feats, rois), torch.cat(maps)
