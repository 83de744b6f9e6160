# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading weights: what a file is, what it holds, and what its tensors are called here."""

from ..renames import old_names
from .clip_weights import (
    CLIPPretrained,
    clear_cache,
    clip_keys,
    load_clip_state_dict,
)
from .files import file_kind, read_file
from .loading import guard_stock_loading

__getattr__ = old_names(
    __name__,
    dict(export_clip_state_dict='regionclip_mmdet.conversion.export_clip_state_dict'),
)

__all__ = [
    'CLIPPretrained',
    'clear_cache',
    'clip_keys',
    'file_kind',
    'guard_stock_loading',
    'load_clip_state_dict',
    'read_file',
]
