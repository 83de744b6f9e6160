# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region encoders."""

from .any_encoder import check_map_channels, embed_and_keep_maps, split_regions, with_arch_of
from .attention_pool import AttentionPool2d
from .region_align import RegionAlign
from .region_encoder import RegionEncoder

__all__ = [
    'AttentionPool2d',
    'RegionAlign',
    'RegionEncoder',
    'check_map_channels',
    'embed_and_keep_maps',
    'split_regions',
    'with_arch_of',
]
