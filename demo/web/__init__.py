# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The web page: uploads, words and detections.

Only ``page``, ``plain_refusals`` and ``command`` need gradio.
"""

from .detections import DetectionService, Outcome, Question
from .errors import UserError
from .pictures import PictureLimits, read_picture
from .vocabularies import Preset, WordEmbedder, make_presets, words_of

__all__ = [
    'DetectionService',
    'Outcome',
    'PictureLimits',
    'Preset',
    'Question',
    'UserError',
    'WordEmbedder',
    'make_presets',
    'read_picture',
    'words_of',
]
