# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Convolutions that carry their frozen batch norm in their own weights."""

from __future__ import annotations

import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops.misc import FrozenBatchNorm2d


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """``norm(conv(x))`` in one pass over the map where the norm has fixed statistics.

    Such a norm is a scale and a shift per channel, so it commutes with the convolution:
    ``norm(w * x) = (scale * w) * x + shift``. The weights are folded again at every call, which
    costs next to nothing beside the convolution, needs no cache that could go stale, and keeps
    state dict and gradients those of the unfolded layers. In mixed precision the folding is done
    in float32, and maps keep the reduced type, which a float32 norm would raise.

    Args:
        x: ``(B, C, H, W)``.
        conv: Convolution without bias.
        norm: Its norm; one that uses the batch's statistics is called as it is.

    Returns:
        ``(B, C', H', W')``, free to be changed in place.
    """
    if not _has_fixed_statistics(norm):
        return norm(conv(x))
    weight, shift = fold(conv, norm)
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


def fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight ``(C', C, k, k)`` and bias ``(C')`` of a convolution followed by a fixed norm.

    In the type of the convolution's weight, but computed in that of the norm, if it has more bits.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    shift = norm.bias - norm.running_mean * scale
    return weight.to(conv.weight.dtype), shift.to(conv.weight.dtype)


def _has_fixed_statistics(norm: nn.Module) -> bool:
    return isinstance(norm, FrozenBatchNorm2d) or (
        isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.affine
        and norm.running_mean is not None
    )


class FoldedBottleneck(Bottleneck):
    """open_clip's bottleneck, computed with ``conv_norm``: same parameters, same function.

    Shapes:
        ``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``, rounded down.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = F.relu_(conv_norm(x, self.conv1, self.bn1))
        if self.downsample is None:
            return self.finish(inner, x)
        pool, conv, norm = self.downsample
        return self.finish(inner, conv_norm(pool(x), conv, norm))

    def finish(self, inner: Tensor, shortcut: Tensor) -> Tensor:
        """What follows the first convolution and the shortcut.

        Args:
            inner: ``(B, C' / 4, H, W)``, after the first convolution's norm and ReLU.
            shortcut: ``(B, C', H / stride, W / stride)``.
        """
        out = F.relu_(conv_norm(inner, self.conv2, self.bn2))
        out = conv_norm(self.avgpool(out), self.conv3, self.bn3)
        return F.relu_(out.add_(shortcut))
