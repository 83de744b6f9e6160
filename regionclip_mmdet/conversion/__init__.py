# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official files, CLIP's and localizers' into this project's layout, and back to CLIP's."""

from ..checkpoints.translation import Conversion
from .converting import convert, convert_several
from .merging import add_vocabulary, merge, name_embeddings, origins
from .output import export_clip_state_dict, save, to_clip

__all__ = [
    'Conversion',
    'add_vocabulary',
    'convert',
    'convert_several',
    'export_clip_state_dict',
    'merge',
    'name_embeddings',
    'origins',
    'save',
    'to_clip',
]
