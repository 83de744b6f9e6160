# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""layer4 on regions, whose linear first steps can run before RoIAlign."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.folding import fold


class RegionStage(nn.Sequential):
    """CLIP's layer4.

    Its first block begins with a 1x1 convolution and, in the shortcut, a 2x2 average pool and
    another 1x1 convolution. Both are linear up to their bias, and so is RoIAlign: they commute.
    Where many regions share a map, ``project`` runs them once on the map; RoIAlign then pools
    their outputs, the biases are added, and ``forward`` goes on. The same numbers up to rounding
    with 18 % fewer multiplications in layer4 (RN50).
    """

    def project(self, c4: Tensor) -> tuple[Tensor, Tensor]:
        """Both first convolutions on a map, without biases.

        Args:
            c4: ``(B, C, H, W)``.

        Returns:
            ``(B, C / 2, H, W)``, to be pooled as ``forward``'s ``x``, and ``(B, 2C, H, W)``, to be
            pooled at half the resolution as its ``shortcut``.
        """
        first = self[0]
        _, conv, norm = first.downsample
        return (
            F.conv2d(c4, fold(first.conv1, first.bn1)[0]),
            F.conv2d(c4, fold(conv, norm)[0]),
        )

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Run the stage on regions.

        Args:
            x: ``(R, C, h, w)``, or projected regions ``(R, C / 2, h, w)``, changed in place.
            shortcut: ``(R, 2C, h / 2, w / 2)``, with projected regions; changed in place.

        Returns:
            ``(R, 2C, h / 2, w / 2)``.
        """
        if shortcut is None:
            return super().forward(x)
        first, *others = self
        _, conv, norm = first.downsample
        x = F.relu_(x.add_(fold(first.conv1, first.bn1)[1].view(-1, 1, 1)))
        shortcut = shortcut.add_(fold(conv, norm)[1].view(-1, 1, 1))
        x = first.finish(x, shortcut)
        for block in others:
            x = block(x)
        return x
