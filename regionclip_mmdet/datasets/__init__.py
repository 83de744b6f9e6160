# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets: image-text pairs, the shapes world, and their transforms."""

from .image_text import ImageTextDataset
from .shapes_dataset import ShapesWorldDataset
from .shapes_world import ShapesWorldSpec, make_shapes_world
from .transforms import PickCaption, ProposalsFromGT

__all__ = [
    'ImageTextDataset',
    'PickCaption',
    'ProposalsFromGT',
    'ShapesWorldDataset',
    'ShapesWorldSpec',
    'make_shapes_world',
]
