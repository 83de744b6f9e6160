# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Transforms that would leave proposals behind: mmdet's Resize and RandomFlip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmcv.transforms import (
    BaseTransform,
    RandomChoiceResize,
    RandomFlip,
    RandomResize,
    Resize,
    TestTimeAug,
)
from mmdet.datasets.transforms import LoadProposals, ResizeShortestEdge
from mmdet.datasets.transforms import Resize as DetResize

from .made_proposals import GridProposals, RandomProposals
from .proposals import ProposalsFromGT

# Boxes that mean a place, and others: random boxes and grids are as good in a mirror image.
PLACED = (LoadProposals, ProposalsFromGT)
SOURCES = (*PLACED, RandomProposals, GridProposals)
MOVES = (Resize, DetResize, RandomFlip, ResizeShortestEdge, RandomChoiceResize, RandomResize)


def leaves_proposals_behind(pipeline: Sequence[BaseTransform]) -> BaseTransform | None:
    """The first transform of a pipeline that moves the image, but not the proposals it has by then.

    Args:
        pipeline: Built transforms; each way through ``TestTimeAug`` is looked at.
    """
    for way in _ways(list(pipeline)):
        has_proposals = False
        for transform in way:
            has_proposals |= isinstance(transform, PLACED)
            if has_proposals and isinstance(transform, MOVES):
                return transform
    return None


def _ways(transforms: list[Any]) -> Iterator[list[Any]]:
    for i, transform in enumerate(transforms):
        if isinstance(transform, TestTimeAug):
            for subroutine in transform.subroutines:
                for rest in _ways(transforms[i + 1 :]):
                    yield [*transforms[:i], *subroutine.transforms, *rest]
            return
    yield transforms
