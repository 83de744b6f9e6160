# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The web page: uploads, words and detections.

Only ``page``, ``plain_refusals`` and ``command`` need gradio.
"""

from .detections import DetectionService, Outcome, Query
from .errors import UserError
from .uploads import ImageLimits, read_upload
from .vocabularies import Preset, WordEmbedder, make_presets, words_of

__all__ = [
    'DetectionService',
    'Outcome',
    'ImageLimits',
    'Preset',
    'Query',
    'UserError',
    'WordEmbedder',
    'make_presets',
    'read_upload',
    'words_of',
]
