# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading and writing checkpoints of other projects."""

from .clip_weights import (
    CLIPPretrained,
    clear_cache,
    clip_keys,
    export_clip_state_dict,
    load_clip_state_dict,
)
from .files import check_loadable, file_kind, read_file

__all__ = [
    'CLIPPretrained',
    'check_loadable',
    'clear_cache',
    'clip_keys',
    'export_clip_state_dict',
    'file_kind',
    'load_clip_state_dict',
    'read_file',
]
