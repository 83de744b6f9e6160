# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Transforms that mmdet does not have."""

from .pick_caption import PickCaption
from .proposals import ProposalsFromGT

__all__ = ['PickCaption', 'ProposalsFromGT']
