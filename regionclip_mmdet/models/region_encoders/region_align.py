# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoIAlign that is fast on a CPU, too."""

from __future__ import annotations

import torch
from mmcv.ops import RoIAlign
from torch import Tensor

from .bin_weights import axis_weights, pool_positions


class RegionAlign(RoIAlign):
    """mmcv's RoIAlign with ``aligned=True``; on a CPU computed as weighted sums of map positions.

    The operators at hand walk through the map channel by channel. Summing whole positions instead
    needs each weight once for all channels and puts out ``channels_last``, which layer4 wants.

    Args:
        output_size: Bins along each axis.
        spatial_scale: Size of the map divided by that of the image.
        sampling_ratio: Samples per bin and axis; 0 takes ``ceil(bin size)``.
        by_positions: False calls mmcv's operator on the CPU, too.
    """

    def __init__(
        self,
        output_size: int,
        spatial_scale: float,
        sampling_ratio: int = 0,
        by_positions: bool = True,
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned=True)
        self.by_positions = by_positions

    def serves(self, feature_map: Tensor) -> bool:
        """Whether RoIs of this map are pooled as weighted sums."""
        return self.by_positions and not feature_map.is_cuda

    def forward(
        self, input: Tensor | tuple[Tensor, Tensor], rois: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Pool regions.

        Args:
            input: ``(B, C, H, W)``. Or two maps of one size, the second of which is wanted at half
                the resolution: RoIAlign, then the mean of 2x2 bins (only where ``serves``).
            rois: ``(R, 5)``: image index in the batch, then x1, y1, x2, y2 in image pixels.

        Returns:
            ``(R, C, bins, bins)``; of two maps also ``(R, C', bins / 2, bins / 2)``.
        """
        full, half = input if isinstance(input, tuple) else (input, None)
        if not self.serves(full):
            # compiled operators read the memory as if it were contiguous, whatever its format
            return super().forward(full.contiguous(), rois)
        with torch.no_grad():
            height, width = full.shape[-2:]
            (bins_y, bins_x), images = self.output_size, rois[:, 0].long()
            x1, y1, x2, y2 = (rois[:, 1:].to(full.dtype) * self.spatial_scale - 0.5).unbind(1)
            rows = axis_weights(y1, y2, bins_y, height, self.sampling_ratio)
            columns = axis_weights(x1, x2, bins_x, width, self.sampling_ratio)
        regions = pool_positions(full, images, rows, columns)
        if half is None:
            return regions
        return regions, pool_positions(half, images, rows.merged(), columns.merged())
