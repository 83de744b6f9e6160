# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Transforms that mmdet does not have."""

from .load_image import BrokenImageError, LoadImageChecked
from .load_proposals import LoadRegionProposals, PackRegionInputs
from .made_proposals import GridProposals, RandomProposals
from .move_proposals import MoveProposals
from .pick_caption import PickCaption
from .proposals import ProposalsFromGT
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
