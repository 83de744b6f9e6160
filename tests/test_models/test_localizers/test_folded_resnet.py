# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The localizer's ResNet computes what mmdet's computes, from the same checkpoints."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.backbones import ResNet
from torch import nn

from regionclip_mmdet.models.localizers import FoldedResNet

OPTIONS = dict(depth=50, out_indices=(0, 1, 2, 3))
VARIANTS = {
    'caffe': dict(style='caffe'),
    'pytorch': dict(style='pytorch', avg_down=True, deep_stem=True),
    'dilated': dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
}


def pair(training: bool, **changes: object) -> tuple[ResNet, FoldedResNet]:
    torch.manual_seed(0)
    stock, folded = (kind(**OPTIONS, **changes) for kind in (ResNet, FoldedResNet))
    for module in stock.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
    folded.load_state_dict(stock.state_dict())
    for net in (stock, folded):
        net.train(training)
    return stock, folded


@pytest.mark.parametrize('variant', VARIANTS)
def test_frozen_norms(variant: str) -> None:
    stock, folded = pair(training=False, **VARIANTS[variant])
    x = torch.randn(2, 3, 70, 97)
    for expected, maps in zip(stock(x), folded(x), strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_norms_that_learn() -> None:
    """Training computes with the batch's statistics, and updates them, as mmdet's does."""
    stock, folded = pair(training=True, norm_eval=False)
    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for net in (stock, folded):
        net(x)[-1].square().mean().backward()
        gradients.append(net.layer2[0].conv2.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)
    means = [net.layer1[0].bn2.running_mean for net in (stock, folded)]
    assert not means[0].equal(pair(training=True)[0].layer1[0].bn2.running_mean)
    torch.testing.assert_close(means[1], means[0])
