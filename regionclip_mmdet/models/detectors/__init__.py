# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a runner trains and tests."""

from .image_text_clip import ImageTextCLIP
from .open_vocabulary_rcnn import OpenVocabularyRCNN
from .region_tta import RegionTTAModel
from .regionclip import RegionCLIP

__all__ = ['ImageTextCLIP', 'OpenVocabularyRCNN', 'RegionCLIP', 'RegionTTAModel']
