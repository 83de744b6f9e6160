# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Single-query pooling equals open_clip's attention pool, forward and backward."""

from __future__ import annotations

import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d as Reference

from regionclip_mmdet.models.region_encoders import AttentionPool2d


def pair(dtype: torch.dtype) -> tuple[Reference, AttentionPool2d]:
    torch.manual_seed(0)
    reference = Reference(3, 64, num_heads=4, output_dim=24).to(dtype)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pool = AttentionPool2d(3, 64, num_heads=4, output_dim=24).to(dtype)
    pool.load_state_dict(reference.state_dict())
    return reference, pool


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_open_clip(dtype: torch.dtype, tolerance: float) -> None:
    reference, pool = pair(dtype)
    x = torch.randn(5, 64, 3, 3, dtype=dtype, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, actual = reference(x), pool(y)
    assert actual.shape == (5, 24) and actual.dtype == dtype
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()

    def compare(a: torch.Tensor, b: torch.Tensor, what: str) -> None:
        a, b = a.detach(), b.detach()
        scale = float(b.abs().max())
        assert scale > 0.01, what
        assert float((a - b).abs().max()) < tolerance * max(scale, 1), what

    compare(actual, expected, 'output')
    compare(y.grad, x.grad, 'input gradient')
    gradients = {name: p.grad for name, p in reference.named_parameters()}
    for name, parameter in pool.named_parameters():
        if name == 'k_proj.bias':  # shifts all scores of a query alike
            assert parameter.grad is None
            assert gradients[name].abs().max() < tolerance
        else:
            compare(parameter.grad, gradients[name], name)


def test_the_attention_is_not_flat() -> None:
    """Else the comparison above would say nothing about keys and queries."""
    _, pool = pair(torch.float64)
    x = torch.randn(5, 64, 3, 3, dtype=torch.float64)
    before = pool(x)
    with torch.no_grad():
        pool.q_proj.weight.neg_()
    assert (pool(x) - before).abs().max() > 0.1


def test_no_regions() -> None:
    _, pool = pair(torch.float32)
    out = pool(torch.zeros(0, 64, 3, 3))
    assert out.shape == (0, 24)
    out.sum().backward()


def test_refuses_another_size() -> None:
    _, pool = pair(torch.float32)
    with pytest.raises(ValueError, match='9 positional embeddings but the map has 4x4'):
        pool(torch.zeros(1, 64, 4, 4))


def test_a_new_pool_is_initialized() -> None:
    torch.manual_seed(0)
    pool = AttentionPool2d(3, 256, num_heads=4, output_dim=24)
    assert float(pool.q_proj.weight.std()) == pytest.approx(1 / 16, rel=0.05)
