# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What pretraining can compute once, before it begins."""

from . import from_config
from .fixed_view import fixed_view
from .proposal_maker import ProposalMaker
from .proposals_of_shards import ProposalsReport, precompute_proposals

__all__ = ['ProposalMaker', 'ProposalsReport', 'fixed_view', 'from_config', 'precompute_proposals']
