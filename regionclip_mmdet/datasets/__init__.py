# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets: COCO, LVIS, image-text pairs, shapes world; their transforms."""

from .broken_images import BrokenImagePolicy
from .image_text import ImageTextDataset
from .open_vocabulary import OVCocoDataset, OVLVISDataset
from .proposal_file import ProposalFile
from .repeat_factor_sampler import RepeatFactorSampler
from .shapes_dataset import ShapesWorldDataset
from .shapes_world import ShapesWorldSpec, make_shapes_world
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
    'ShapesWorldSpec',
    'ShardSampler',
    'make_shapes_world',
]
