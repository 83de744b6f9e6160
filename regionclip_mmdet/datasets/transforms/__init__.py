# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Transforms that mmdet does not have."""

from .load_image import BrokenImageError, LoadImageChecked
from .made_proposals import GridProposals, RandomProposals
from .pick_caption import PickCaption
from .proposals import LoadRegionProposals, MoveProposals, PackRegionInputs, ProposalsFromGT
from .resize import ResizeShortestEdgeTruncated

__all__ = [
    'BrokenImageError',
    'GridProposals',
    'LoadImageChecked',
    'LoadRegionProposals',
    'MoveProposals',
    'PackRegionInputs',
    'PickCaption',
    'ProposalsFromGT',
    'RandomProposals',
    'ResizeShortestEdgeTruncated',
]
