# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's ResNet for a frozen localizer, with its norms inside its convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from mmdet.models.backbones.resnet import Bottleneck, ResNet
from mmdet.registry import MODELS
from torch import Tensor

from ..backbones.folding import conv_norm


class FoldedBottleneck(Bottleneck):
    """mmdet's bottleneck, computed with ``conv_norm``: same parameters, same function.

    Shapes:
        ``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``, rounded up.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.with_dcn or self.with_plugins or (self.with_cp and x.requires_grad):
            return super().forward(x)
        out = F.relu_(conv_norm(x, self.conv1, self.norm1))
        out = F.relu_(conv_norm(out, self.conv2, self.norm2))
        out = conv_norm(out, self.conv3, self.norm3)
        if self.downsample is not None:
            *before, conv, norm = self.downsample
            for layer in before:
                x = layer(x)
            x = conv_norm(x, conv, norm)
        return F.relu_(out.add_(x))


@MODELS.register_module()
class FoldedResNet(ResNet):
    """mmdet's ``ResNet-50/101/152``, faster where its norms do not learn; same checkpoints.

    Arguments and shapes are those of mmdet's class. Layers whose norms are in training mode compute
    as there.
    """

    arch_settings = {
        depth: (FoldedBottleneck, stages)
        for depth, (block, stages) in ResNet.arch_settings.items()
        if block is Bottleneck
    }
