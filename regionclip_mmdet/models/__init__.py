# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Models; importing this package registers them all."""

from . import (
    backbones,
    detectors,
    localizers,
    losses,
    post_processing,
    region_encoders,
    roi_heads,
    task_modules,
    text,
    weights,
)

__all__ = [
    'backbones',
    'detectors',
    'localizers',
    'losses',
    'post_processing',
    'region_encoders',
    'roi_heads',
    'task_modules',
    'text',
    'weights',
]
