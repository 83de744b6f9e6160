# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoIAlign that is fast on a CPU, too.

RoIAlign is linear in the map, and its bilinear samples on a grid are products of one weight by row
and one by column: a bin is a weighted sum of neighboring positions, ``sum_yx w_y w_x map[y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmcv.ops import RoIAlign
from torch import Tensor


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


@dataclass(frozen=True)
class AxisWeights:
    """Weights of neighboring positions along one axis; ``K`` is the most that a bin touches.

    Attributes:
        first: ``(R, bins)`` int64, the first position that a bin touches.
        weights: ``(R, bins, K)``, those of positions ``first`` to ``first + K - 1``; zero where a
            bin touches fewer, or where these lie outside the map.
    """

    first: Tensor
    weights: Tensor

    def merged(self) -> AxisWeights:
        """Weights of the means of bins 0 and 1, 2 and 3, ...: an average pool after RoIAlign."""
        num_rois, bins, taps = self.weights.shape
        pairs = self.first.view(num_rois, bins // 2, 2)
        first = pairs.amin(-1)
        shifts = (pairs - first[..., None])[..., None] + torch.arange(taps, device=first.device)
        reach = int(shifts.max()) + 1 if shifts.numel() else taps
        weights = self.weights.new_zeros(num_rois, bins // 2, reach)
        halves = self.weights.view(num_rois, bins // 2, 2 * taps) / 2
        weights.scatter_add_(2, shifts.flatten(2), halves)
        return AxisWeights(first, weights)


def axis_weights(
    low: Tensor, high: Tensor, bins: int, length: int, sampling_ratio: int = 0
) -> AxisWeights:
    """Weights of RoIs along one axis, by RoIAlign's rules (He et al. 2017, ``aligned=True``).

    Samples more than one position outside the map count as zero, those nearer are moved to its
    border. RoIs without extent, or with borders that are not finite, have no samples. The order
    of operations is that of the compiled operators, so that positions are rounded as there.

    Args:
        low: ``(R,)``, where RoIs begin, in map positions (half a pixel subtracted).
        high: ``(R,)``, where they end.
        bins: Bins along this axis.
        length: Positions of the map along this axis.
        sampling_ratio: Samples in a bin; 0 takes ``ceil(bin size)``.
    """
    extent = high - low
    extent = torch.where(extent.isfinite(), extent, torch.zeros_like(extent))
    low = torch.where(low.isfinite(), low, torch.zeros_like(low))
    size = extent / bins
    samples = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else size.ceil()
    most = max(int(samples.max()), 1) if len(samples) else 1
    sample = torch.arange(most, device=low.device, dtype=low.dtype)
    count, size = samples[:, None, None], size[:, None, None]
    begin = low[:, None, None] + torch.arange(bins, device=low.device)[:, None] * size
    place = begin + (sample + 0.5) * size / count.clamp(min=1)  # (R, bins, samples)
    counted = (sample < count) & (place >= -1) & (place <= length)

    place = place.clamp(min=0, max=length - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=length - 1)
    fraction = place - before
    share = counted / count.clamp(min=1)

    first = before.masked_fill(~counted, length - 1).amin(-1)
    last = after.masked_fill(~counted, 0).amax(-1)
    taps = max(int((last - first).max()) + 1, 1) if len(first) else 1
    weights = low.new_zeros(*first.shape, taps)
    for position, weight in ((before, 1 - fraction), (after, fraction)):
        place_in_bin = (position - first[..., None]).clamp(0, taps - 1)
        weights.scatter_add_(2, place_in_bin, share * weight)
    return AxisWeights(first, weights)


def pool_positions(
    feature_map: Tensor, images: Tensor, rows: AxisWeights, columns: AxisWeights
) -> Tensor:
    """Weighted sums of a map's positions, whose channels lie side by side in memory.

    Args:
        feature_map: ``(B, C, H, W)``; one in ``channels_last`` is not copied.
        images: ``(R,)`` int64, each RoI's image in the batch.
        rows: Weights along the height.
        columns: Weights along the width.

    Returns:
        ``(R, C, bins, bins)`` in ``channels_last``.
    """
    _, channels, height, width = feature_map.shape
    positions = feature_map.permute(0, 2, 3, 1).reshape(-1, channels)
    weights = rows.weights[:, :, None, :, None] * columns.weights[:, None, :, None, :]
    y = rows.first[..., None] + torch.arange(rows.weights.shape[2], device=images.device)
    x = columns.first[..., None] + torch.arange(columns.weights.shape[2], device=images.device)
    y = images.view(-1, 1, 1) * height + y
    index = (y * width)[:, :, None, :, None] + x[:, None, :, None, :]
    used = weights != 0
    counts = used.sum((3, 4)).flatten()
    sums = F.embedding_bag(
        index[used],
        positions,
        counts.cumsum(0) - counts,
        per_sample_weights=weights[used],
        mode='sum',
    )
    return sums.view(*weights.shape[:3], channels).permute(0, 3, 1, 2)
