# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoIAlign as weighted sums of positions, against torchvision's operator."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from regionclip_mmdet.models.region_encoders import RegionAlign
from regionclip_mmdet.models.region_encoders.region_align import axis_weights

HEIGHT, WIDTH = 12, 17


def feature_map(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, HEIGHT, WIDTH, generator=generator, dtype=dtype)


def boxes() -> Tensor:
    """Ordinary, tiny, huge, thin, outside, without extent, inverted; on both images."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(20, 2, generator=generator) * 150 - 20
    ordinary = torch.cat([corners, corners + torch.rand(20, 2, generator=generator) * 200], 1)
    odd = torch.tensor(
        [
            [0.0, 0.0, WIDTH * 16.0, HEIGHT * 16.0],
            [-900.0, -700.0, 1500.0, 1200.0],
            [40.0, 40.0, 40.5, 40.25],
            [3.0, 60.0, 260.0, 61.0],
            [60.0, 3.0, 61.0, 190.0],
            [271.9, 191.9, 272.0, 192.0],
            [400.0, 30.0, 500.0, 90.0],
            [-90.0, -90.0, -40.0, -40.0],
            [50.0, 50.0, 50.0, 90.0],
            [90.0, 90.0, 50.0, 60.0],
        ]
    )
    both = torch.cat([ordinary, odd])
    return torch.cat([(torch.arange(len(both)) % 2).float()[:, None], both], 1)


def by_torchvision(x: Tensor, rois: Tensor, bins: int, ratio: int) -> Tensor:
    return torchvision.ops.roi_align(x, rois, bins, 1 / 16, ratio if ratio else -1, aligned=True)


@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('bins', [2, 4, 14])
def test_values_and_gradient(bins: int, ratio: int) -> None:
    rois, align = boxes(), RegionAlign(bins, 1 / 16, ratio)
    results = []
    for pool in (align, lambda x, rois: by_torchvision(x, rois, bins, ratio)):
        x = feature_map().requires_grad_()
        out = pool(x, rois)
        generator = torch.Generator().manual_seed(2)
        out.backward(torch.randn(out.shape, generator=generator))
        results.append((out.detach(), x.grad))
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*(out for out, _ in results), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(*(grad for _, grad in results), rtol=1e-5, atol=1e-5)
    assert results[1][0].abs().amax((1, 2, 3)).gt(0).sum() > 20


def test_float64_is_exact() -> None:
    x, rois = feature_map(torch.float64), boxes().double()
    actual = RegionAlign(14, 1 / 16)(x, rois)
    torch.testing.assert_close(actual, by_torchvision(x, rois, 14, 0), rtol=1e-12, atol=1e-13)


def test_two_maps_second_at_half_the_resolution() -> None:
    x, rois = feature_map(), boxes()
    other = x.flip(1)[:, :3]
    full, half = RegionAlign(14, 1 / 16)((x, other), rois)
    torch.testing.assert_close(full, by_torchvision(x, rois, 14, 0), rtol=1e-5, atol=2e-6)
    pooled = torch.nn.functional.avg_pool2d(by_torchvision(other, rois, 14, 0), 2)
    torch.testing.assert_close(half, pooled, rtol=1e-5, atol=2e-6)


def test_no_regions_and_memory_formats() -> None:
    x, align = feature_map(), RegionAlign(14, 1 / 16)
    full, half = align((x, x), torch.zeros(0, 5))
    assert full.shape == (0, 6, 14, 14) and half.shape == (0, 6, 7, 7)
    rois = boxes()
    assert torch.equal(align(x.contiguous(memory_format=torch.channels_last), rois), align(x, rois))


def test_boxes_that_are_not_finite_are_empty() -> None:
    inf, nan = float('inf'), float('nan')
    rois = torch.tensor([[0, 0, 0, inf, 50], [0, nan, 0, 50, 50], [0, 0, 0, 50, 50]])
    out = RegionAlign(4, 1 / 16)(feature_map(), rois)
    assert not out[:2].any() and out[2].any()


def test_the_operator_can_be_asked_for() -> None:
    """In any memory format: compiled operators would read channels_last as channels_first."""
    x, rois = feature_map(), boxes()[:-2]  # some operators refuse inverted boxes
    align = RegionAlign(4, 1 / 16, by_positions=False)
    expected = by_torchvision(x, rois, 4, 0)
    torch.testing.assert_close(align(x, rois), expected, rtol=1e-5, atol=2e-6)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(align(channels_last, rois), expected, rtol=1e-5, atol=2e-6)


def test_weights_of_a_bin_by_hand() -> None:
    """Two bins of [0.5, 4.5]: ceil(2) samples each at 1, 2 and 3, 4; the map ends at 3."""
    weights = axis_weights(torch.tensor([0.5]), torch.tensor([4.5]), bins=2, length=4)
    assert weights.first.tolist() == [[1, 3]]
    assert weights.weights.tolist() == [[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]]
    merged = weights.merged()
    assert merged.first.tolist() == [[1]]
    assert merged.weights[0, 0, :3].tolist() == [0.25, 0.25, 0.5]
    assert not merged.weights[0, 0, 3:].any()
