# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Folded norms: the same function, gradients and state dict as convolution and norm apart."""

from __future__ import annotations

import pytest
import torch
from open_clip.modified_resnet import Bottleneck
from open_clip.utils import freeze_batch_norm_2d
from torch import Tensor, nn

from helpers import tiny_models
from regionclip_mmdet.models.backbones.folding import FoldedBottleneck, conv_norm


def pair(inplanes: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """open_clip's block with frozen norms, and ours with its weights."""
    theirs, ours = Bottleneck(inplanes, 8, stride), FoldedBottleneck(inplanes, 8, stride)
    for block in (theirs, ours):
        freeze_batch_norm_2d(tiny_models.fill(block, seed=3))
    assert list(theirs.state_dict()) == list(ours.state_dict())
    return theirs, ours


def batch(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, channels, 7, 9, generator=generator).requires_grad_()


@pytest.mark.parametrize(('inplanes', 'stride'), [(16, 2), (16, 1), (32, 1)])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_block_equals_open_clips(
    inplanes: int, stride: int, memory_format: torch.memory_format
) -> None:
    results = []
    for block in pair(inplanes, stride):
        x = batch(inplanes)
        out = block(x.contiguous(memory_format=memory_format))
        out.square().sum().backward()
        results.append((out, x.grad, *(p.grad for p in block.parameters())))
    assert results[0][0].std() > 0.1
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_input_is_not_changed() -> None:
    _, block = pair(32, 1)
    x = batch(32)
    before = x.detach().clone()
    block(x)
    assert torch.equal(x, before)


def test_hand_computed_scale_and_shift() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    norm = freeze_batch_norm_2d(nn.BatchNorm2d(1, eps=0.0))
    with torch.no_grad():
        conv.weight.fill_(3.0)
        norm.weight.fill_(2.0)
        norm.bias.fill_(1.0)
        norm.running_mean.fill_(5.0)
        norm.running_var.fill_(4.0)
    # (3 * 7 - 5) / 2 * 2 + 1
    assert conv_norm(torch.full((1, 1, 1, 1), 7.0), conv, norm).item() == pytest.approx(17.0)


def test_new_weights_count_at_once() -> None:
    _, block = pair(32, 1)
    x = batch(32)
    before = block(x)
    with torch.no_grad():
        block.bn2.running_mean += 1
        block.conv3.weight *= 2
    assert (block(x) - before).abs().max() > 0.1


def test_norm_that_is_not_frozen_learns() -> None:
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) + 3
    out = conv_norm(x, conv, norm.train())
    assert out.mean().abs() < 1e-5  # normalized by the batch
    assert norm.running_mean.abs().max() > 0.01


def test_mixed_precision_keeps_the_reduced_type_and_the_value() -> None:
    theirs, ours = pair(16, 2)
    x = batch(16)
    exact = theirs(x)
    with torch.autocast('cpu', torch.bfloat16):
        out = ours(x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.03 * exact.abs().max()
