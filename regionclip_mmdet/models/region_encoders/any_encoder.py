# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is asked of a region encoder besides embeddings; ``RegionEncoder``'s own ways are optional.

A region encoder turns ``(feature map,)`` and RoIs ``(R, 5)`` into embeddings ``(R, D)`` and says
``embed_dim``. For masks it has ``region_maps(feats, rois)``, maps ``(R, C, h, w)``, and may say
``map_channels``. ``split`` and ``embed_and_keep_maps`` of ``RegionEncoder`` save memory and time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def check_map_channels(encoder: nn.Module, channels: int) -> None:
    """Refuse a mask head that does not fit an encoder's maps.

    Args:
        encoder: The region encoder.
        channels: That the mask head reads.

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
            'channels (CLIP ResNets: those of layer4).'
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
