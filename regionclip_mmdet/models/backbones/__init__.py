# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image backbones."""

from .clip_arch import CLIP_RESNETS, CLIPResNetArch, resolve_arch
from .clip_resnet import CLIPResNet

__all__ = ['CLIP_RESNETS', 'CLIPResNet', 'CLIPResNetArch', 'resolve_arch']
