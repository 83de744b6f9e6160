# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Each parameter tensor's gradient is clipped by its own norm, once per update, unscaled."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from regionclip_mmdet.engine.optimizers import (
    PerTensorClipAmpOptimWrapper,
    PerTensorClipOptimWrapper,
    clip_grad_norm_per_tensor,
)

CLIP = dict(type='per_tensor_norm', max_norm=0.5)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def inputs(rows: int = 8) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)) * 3


def test_equals_torchs_clipping_of_one_tensor_at_a_time() -> None:
    ours, theirs = model(), model()
    for net in (ours, theirs):
        net(inputs()).square().sum().backward()
    norms = [float(p.grad.norm()) for p in theirs.parameters()]
    limit = sorted(norms)[1] * 1.5  # some are clipped, some are not
    largest = clip_grad_norm_per_tensor(ours.parameters(), limit)
    assert float(largest) == pytest.approx(max(norms))
    for p in theirs.parameters():
        torch.nn.utils.clip_grad_norm_(p, limit)
    clipped = 0
    for a, b, norm in zip(ours.parameters(), theirs.parameters(), norms):
        torch.testing.assert_close(a.grad, b.grad)
        clipped += norm > limit
        assert float(a.grad.norm()) == pytest.approx(min(norm, limit), rel=1e-4)
    assert 0 < clipped < 4


def test_other_orders_and_nothing_to_clip() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, -4.0])
    assert float(clip_grad_norm_per_tensor([parameter], 2.0, norm_type=float('inf'))) == 4
    torch.testing.assert_close(parameter.grad, torch.tensor([1.5, -2.0]))
    assert float(clip_grad_norm_per_tensor([nn.Parameter(torch.zeros(1))], 1.0)) == 0


def test_update_by_hand_with_accumulation() -> None:
    net = model()
    reference = copy.deepcopy(net)
    wrapper = build_optim_wrapper(
        net,
        dict(
            type='PerTensorClipOptimWrapper',
            optimizer=dict(type='SGD', lr=0.1),
            clip_grad=dict(CLIP),
            accumulative_counts=2,
        ),
    )
    assert isinstance(wrapper, PerTensorClipOptimWrapper)
    for part in inputs().split(4):
        wrapper.update_params(net(part).square().mean())
    reference(inputs()).square().mean().backward()
    for p, before in zip(net.parameters(), reference.parameters()):
        gradient = before.grad * min(1.0, 0.5 / (float(before.grad.norm()) + 1e-6))
        torch.testing.assert_close(p.data, before.data - 0.1 * gradient)
    scalars = wrapper.message_hub.log_scalars
    expected = max(float(p.grad.norm()) for p in reference.parameters())
    assert scalars['train/largest_grad_norm'].current() == pytest.approx(expected, rel=1e-4)


def test_other_kinds_of_clipping_stay_mmengines() -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    wrapper = PerTensorClipOptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    assert wrapper.clip_func is torch.nn.utils.clip_grad_norm_
    assert PerTensorClipOptimWrapper(optimizer).clip_grad_kwargs is None


def test_mixed_precision_unscales_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real scaler's part is played by one that multiplies by 1024."""
    assert OPTIM_WRAPPERS.get('PerTensorClipAmpOptimWrapper') is PerTensorClipAmpOptimWrapper

    class Scaler:
        def scale(self, loss: Tensor) -> Tensor:
            return loss * 1024

        def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
            for group in optimizer.param_groups:
                for p in group['params']:
                    p.grad /= 1024

        def step(self, optimizer: torch.optim.Optimizer) -> None:
            optimizer.step()

        def update(self, scale: float | None = None) -> None:
            pass

    net = model()
    reference = copy.deepcopy(net)
    wrapper = PerTensorClipAmpOptimWrapper.__new__(PerTensorClipAmpOptimWrapper)
    # what AmpOptimWrapper sets, without its demand for a GPU
    PerTensorClipOptimWrapper.__init__(
        plain := PerTensorClipOptimWrapper.__new__(PerTensorClipOptimWrapper),
        torch.optim.SGD(net.parameters(), 0.1),
        clip_grad=dict(CLIP),
    )
    wrapper.__dict__.update(plain.__dict__)
    wrapper.loss_scaler, wrapper._scale_update_param = Scaler(), None
    wrapper.update_params(net(inputs()).square().mean())
    reference(inputs()).square().mean().backward()
    for p, before in zip(net.parameters(), reference.parameters()):
        gradient = before.grad * min(1.0, 0.5 / (float(before.grad.norm()) + 1e-6))
        torch.testing.assert_close(p.data, before.data - 0.1 * gradient)
