# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals that need no localizer: random boxes and grids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


class _MadeProposals(BaseTransform):
    """Adds ``proposals`` and ``proposals_scores``, in pixels of the image as it is now.

    To be placed after Resize and RandomFlip, which leave ``proposals`` where they are.
    """

    def transform(self, results: dict) -> dict:
        """Add the boxes to ``results``.

        Raises:
            KeyError: No image has been loaded before.
        """
        if 'img_shape' not in results:
            raise KeyError(f'{type(self).__name__} needs img_shape: load the image before it.')
        height, width = results['img_shape'][:2]
        boxes = np.clip(self.boxes(height, width), 0, [width, height, width, height])
        results['proposals'] = boxes.astype(np.float32).reshape(-1, 4)
        results['proposals_scores'] = np.ones(len(boxes), dtype=np.float32)
        return results

    @abstractmethod
    def boxes(self, height: int, width: int) -> np.ndarray:
        """Boxes ``(N, 4)``, x1 y1 x2 y2, for an image of some size in pixels."""


@TRANSFORMS.register_module()
class RandomProposals(_MadeProposals):
    """Boxes of random place, area and aspect ratio.

    Area and aspect ratio are drawn log-uniformly, the place uniformly among those inside the image.
    Random numbers are NumPy's, which mmengine seeds in every worker.

    Added keys: ``proposals`` (float32 ``(N, 4)``, x1 y1 x2 y2) and ``proposals_scores`` (ones).

    Args:
        num_proposals: Boxes per image.
        area_range: Smallest and largest area, as a share of the image.
        aspect_range: Smallest and largest width over height.
    """

    def __init__(
        self,
        num_proposals: int = 100,
        area_range: Sequence[float] = (0.01, 0.5),
        aspect_range: Sequence[float] = (1 / 3, 3.0),
    ) -> None:
        if num_proposals < 1:
            raise ValueError(f'num_proposals must be positive, not {num_proposals}.')
        for name, (low, high) in (('area_range', area_range), ('aspect_range', aspect_range)):
            if not 0 < low <= high:
                raise ValueError(f'{name} must be two rising positive numbers: {(low, high)}.')
        if area_range[1] > 1:
            raise ValueError(f'area_range is a share of the image, at most 1: {area_range}.')
        self.num_proposals = num_proposals
        self.area_range = tuple(area_range)
        self.aspect_range = tuple(aspect_range)

    def boxes(self, height: int, width: int) -> np.ndarray:
        """See the class."""
        area, aspect = (
            np.exp(np.random.uniform(*np.log(limits), self.num_proposals))
            for limits in (self.area_range, self.aspect_range)
        )
        area = area * height * width
        # a box too long for the image is cut to its side
        box_width = np.minimum(np.sqrt(area * aspect), width)
        box_height = np.minimum(np.sqrt(area / aspect), height)
        x = np.random.uniform(size=self.num_proposals) * (width - box_width)
        y = np.random.uniform(size=self.num_proposals) * (height - box_height)
        return np.stack([x, y, x + box_width, y + box_height], axis=1)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_proposals={self.num_proposals}, '
            f'area_range={self.area_range}, aspect_range={self.aspect_range})'
        )


@TRANSFORMS.register_module()
class GridProposals(_MadeProposals):
    """Grids of windows of several sizes, covering the image.

    Added keys: ``proposals`` (float32 ``(N, 4)``, x1 y1 x2 y2), coarse grids first, row by row,
    and ``proposals_scores`` (ones).

    Args:
        grids: For each grid, into how many cells either side is divided; 1 is the whole image.
        overlap: How much wider and higher than its cell a window is, as a share of the cell;
            windows are cut at the image's borders.
    """

    def __init__(self, grids: Sequence[int] = (1, 2, 4, 8), overlap: float = 0.0) -> None:
        if not grids or min(grids) < 1:
            raise ValueError(f'grids must be positive numbers of cells, not {grids}.')
        if overlap < 0:
            raise ValueError(f'overlap must not be negative: {overlap}.')
        self.grids = tuple(grids)
        self.overlap = overlap

    def boxes(self, height: int, width: int) -> np.ndarray:
        """See the class."""
        found = []
        for cells in self.grids:
            size = np.array([width, height]) / cells
            y, x = np.meshgrid(np.arange(cells), np.arange(cells), indexing='ij')
            centers = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * size
            half = size * (1 + self.overlap) / 2
            found.append(np.concatenate([centers - half, centers + half], axis=1))
        return np.concatenate(found)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grids={self.grids}, overlap={self.overlap})'
