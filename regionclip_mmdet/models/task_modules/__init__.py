# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Task modules."""

from .upper_clamp_bbox_coder import UpperClampBBoxCoder

__all__ = ['UpperClampBBoxCoder']
