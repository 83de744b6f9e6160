# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Losses of pretraining and transfer."""

from .cosine import cosine_logits
from .focal_scaled_cross_entropy import FocalScaledCrossEntropyLoss
from .image_text_contrastive import ImageTextContrastiveLoss, gather_with_gradient
from .region_distillation import RegionDistillationLoss
from .region_text_contrastive import RegionTextContrastiveLoss

__all__ = [
    'FocalScaledCrossEntropyLoss',
    'ImageTextContrastiveLoss',
    'RegionDistillationLoss',
    'RegionTextContrastiveLoss',
    'cosine_logits',
    'gather_with_gradient',
]
