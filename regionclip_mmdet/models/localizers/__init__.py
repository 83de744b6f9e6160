# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizers: networks that propose regions."""

from .folded_resnet import FoldedResNet
from .proposals import get_proposals
from .rpn_localizer import CLIP_MEAN, CLIP_STD, RPNLocalizer

__all__ = ['CLIP_MEAN', 'CLIP_STD', 'FoldedResNet', 'RPNLocalizer', 'get_proposals']
