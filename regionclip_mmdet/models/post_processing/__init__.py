# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From scores to detections."""

from .detections import fuse_objectness, select_detections
from .soft_nms import soft_nms

__all__ = ['fuse_objectness', 'select_detections', 'soft_nms']
