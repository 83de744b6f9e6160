# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets: COCO, LVIS, image-text pairs, shapes world; their transforms."""

from ..renames import old_names
from .broken_images import BrokenImagePolicy
from .image_text import ImageTextDataset
from .open_vocabulary import OVCocoDataset, OVLVISDataset
from .proposal_file import ProposalFile
from .repeat_factor_sampler import RepeatFactorSampler
from .shapes_world import ShapesWorldDataset
from .shards import ImageTextShards, ImageTextTSV, ShardSampler
from .transforms import (
    BrokenImageError,
    GridProposals,
    LoadImageChecked,
    LoadRegionProposals,
    MoveProposals,
    PackRegionInputs,
    PickCaption,
    ProposalsFromGT,
    RandomProposals,
    ResizeShortestEdgeTruncated,
)

__all__ = [
    'BrokenImageError',
    'BrokenImagePolicy',
    'GridProposals',
    'ImageTextDataset',
    'ImageTextShards',
    'ImageTextTSV',
    'LoadImageChecked',
    'LoadRegionProposals',
    'MoveProposals',
    'OVCocoDataset',
    'OVLVISDataset',
    'PackRegionInputs',
    'PickCaption',
    'ProposalFile',
    'ProposalsFromGT',
    'RandomProposals',
    'ResizeShortestEdgeTruncated',
    'RepeatFactorSampler',
    'ShapesWorldDataset',
    'ShardSampler',
]

__getattr__ = old_names(
    __name__,
    {name: f'examples.shapes_world.{name}' for name in ('ShapesWorldSpec', 'make_shapes_world')},
)
