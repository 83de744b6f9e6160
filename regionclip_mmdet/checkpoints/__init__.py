# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading and writing checkpoints of other projects."""

from .clip_weights import (
    CLIPPretrained,
    clear_cache,
    clip_keys,
    export_clip_state_dict,
    load_clip_state_dict,
)
from .files import file_kind, read_file
from .loading import guard_stock_loading

__all__ = [
    'CLIPPretrained',
    'clear_cache',
    'clip_keys',
    'export_clip_state_dict',
    'file_kind',
    'guard_stock_loading',
    'load_clip_state_dict',
    'read_file',
]
