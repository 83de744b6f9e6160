# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoI heads of detection and pretraining."""

from .open_vocab_roi_head import OpenVocabRoIHead
from .region_mask_head import RegionMaskHead
from .region_text_head import PseudoLabels, RegionTextHead
from .region_text_roi_head import RegionTextRoIHead
from .text_embedding_bbox_head import TextEmbeddingBBoxHead

__all__ = [
    'OpenVocabRoIHead',
    'PseudoLabels',
    'RegionMaskHead',
    'RegionTextHead',
    'RegionTextRoIHead',
    'TextEmbeddingBBoxHead',
]
