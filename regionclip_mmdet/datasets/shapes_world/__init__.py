# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shapes world: a small, deterministic stand-in for image-text and detection data."""

from .generate import is_complete, make_shapes_world, sample_image
from .spec import ShapesWorldSpec
from .splits import BASE_CLASSES, CATEGORY_IDS, CLASSES, COLORS, NOVEL_CLASSES, SHAPES

__all__ = [
    'BASE_CLASSES',
    'CATEGORY_IDS',
    'CLASSES',
    'COLORS',
    'NOVEL_CLASSES',
    'SHAPES',
    'ShapesWorldSpec',
    'is_complete',
    'make_shapes_world',
    'sample_image',
]
