# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Resizing as the official pretraining does it."""

from __future__ import annotations

import numpy as np
from mmdet.datasets.transforms import ResizeShortestEdge
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeShortestEdgeTruncated(ResizeShortestEdge):
    """mmdet's ``ResizeShortestEdge`` with the sizes of the official pretraining.

    That code resizes as torchvision did in 2021, which differs from detection in two ways:

    * Sides are truncated to whole pixels, not rounded: the long one first and, if it is longer than
      ``max_size``, the short one after dividing by the truncated long one.
    * An image whose short side is already right is left alone, however long the other side is.

    Args:
        scale: Wanted short side in pixels.
        max_size: Greatest long side in pixels; None for no limit.
        resize_type: As in mmdet.
        **resize_kwargs: For mmdet's ``Resize``; the official code has ``interpolation='bicubic',
            backend='pillow'``.
    """

    def _get_output_shape(
        self, img: np.ndarray, short_edge_length: int | tuple[int, int]
    ) -> tuple[int, int]:
        """Width and height for an image ``(H, W, C)``."""
        height, width = img.shape[:2]
        if not isinstance(short_edge_length, int):
            short_edge_length = min(short_edge_length)
        short, long = sorted((height, width))
        if short == short_edge_length:
            return width, height
        new_short, new_long = short_edge_length, int(short_edge_length * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        new_short = max(new_short, 1)  # of a very narrow image nothing would be left
        return (new_short, new_long) if width <= height else (new_long, new_short)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, max_size={self.max_size}, '
            f'resize={self.resize_cfg})'
        )
