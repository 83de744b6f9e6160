# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shapes world: a small, deterministic stand-in for image-text and detection data."""

from .generate import is_complete, make_shapes_world, sample_image
from .spec import ShapesWorldSpec

__all__ = ['ShapesWorldSpec', 'is_complete', 'make_shapes_world', 'sample_image']
