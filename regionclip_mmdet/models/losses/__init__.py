# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Losses of pretraining and transfer."""

from ..recognition import cosine_logits
from .focal_scaled_cross_entropy import FocalScaledCrossEntropyLoss
from .gathering import gather_with_gradient
from .image_text_contrastive import ImageTextContrastiveLoss
from .image_text_sigmoid import ImageTextSigmoidLoss
from .region_distillation import RegionDistillationLoss
from .region_text_contrastive import RegionTextContrastiveLoss

__all__ = [
    'FocalScaledCrossEntropyLoss',
    'ImageTextContrastiveLoss',
    'ImageTextSigmoidLoss',
    'RegionDistillationLoss',
    'RegionTextContrastiveLoss',
    'cosine_logits',
    'gather_with_gradient',
]
