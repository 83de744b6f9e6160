# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From a training pipeline to the one view of each image that is computed on beforehand."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

META_KEYS = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')
_LOADERS = {'LoadImageChecked', 'LoadImageFromFile'}
_RESIZES = {'Resize', 'ResizeShortestEdge', 'ResizeShortestEdgeTruncated'}
_RANDOM_RESIZES = {'RandomChoiceResize', 'RandomResize'}
_WRAPPERS = {'MoveProposals', 'ProposalBroadcaster'}
# They change nothing that a localizer sees but the side on which it lies.
_LEFT_OUT = {
    'GridProposals',
    'LoadAnnotations',
    'LoadRegionProposals',
    'PackDetInputs',
    'PackRegionInputs',
    'PickCaption',
    'ProposalsFromGT',
    'RandomFlip',
    'RandomProposals',
}


def fixed_view(
    pipeline: Sequence[Mapping[str, Any]], resize: tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """The pipeline that loads and resizes images as training does, without chance.

    Args:
        pipeline: training pipeline, as in a config.
        resize: Short side and greatest long side in pixels, in place of the pipeline's resizing.

    Returns:
        Its loading and its resizing, without flips, captions and proposals, and packing.

    Raises:
        ValueError: It draws sizes at random and ``resize`` is not given, or has a transform that
            makes other images than those that would be computed on (crops, mosaics, colors).
    """
    loaders, resizes = [], []
    for transform in _flat(pipeline):
        kind = transform['type']
        if kind in _LOADERS:
            loaders.append(transform)
        elif kind in _RANDOM_RESIZES and resize is None:
            raise ValueError(
                f'{kind} draws another size each time. Say at which size to compute, for example '
                '--resize 800 1333 (short side, greatest long side).'
            )
        elif kind in _RESIZES | _RANDOM_RESIZES:
            resizes.append(transform)
        elif kind not in _LEFT_OUT:
            raise ValueError(
                f'{kind} in the pipeline is not known here: whether boxes of the image without it '
                'hold for the image with it cannot be said. Compute with a config without it.'
            )
    if len(loaders) != 1:
        raise ValueError(f'The pipeline has {len(loaders)} transforms that load an image, not one.')
    if resize is not None:
        short, longest = resize
        resizes = [
            dict(
                type='ResizeShortestEdgeTruncated',
                scale=short,
                max_size=longest,
                interpolation='bicubic',
                backend='pillow',
            )
        ]
    return [*loaders, *resizes, dict(type='PackDetInputs', meta_keys=META_KEYS)]


def _flat(pipeline: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for transform in pipeline:
        if transform['type'] in _WRAPPERS:
            yield from _flat(transform['transforms'])
        else:
            yield copy.deepcopy(dict(transform))
