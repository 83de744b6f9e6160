# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From scores to detections."""

from .detections import (
    add_label_names,
    class_wise_nms,
    fuse_objectness,
    objectness_weight,
    select_detections,
)
from .early_exit import detect_until_final, first_chunk
from .soft_nms import soft_nms

__all__ = [
    'add_label_names',
    'class_wise_nms',
    'detect_until_final',
    'first_chunk',
    'fuse_objectness',
    'objectness_weight',
    'select_detections',
    'soft_nms',
]
