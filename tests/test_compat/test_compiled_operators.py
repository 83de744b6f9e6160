# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The operators served by torchvision against a compiled mmcv's: ``make test-ops``."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from regionclip_mmdet.compat import torchvision_operators, uses_operator_fallback

if uses_operator_fallback():
    pytest.skip(
        'no compiled mmcv here to compare with (make test-ops has one)', allow_module_level=True
    )

import mmcv._ext as compiled  # noqa: E402

SIDES = (compiled, torchvision_operators)
# Inside, across the border, outside, without area, thinner than a bin, over the whole map.
BOXES = (
    (3.0, 5.0, 120.0, 100.0),
    (-8.0, 10.0, 60.0, 200.0),
    (300.0, 300.0, 400.0, 380.0),
    (40.0, 40.0, 40.0, 40.0),
    (50.0, 50.0, 52.0, 51.0),
    (0.0, 0.0, 176.0, 144.0),
)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def rois_of_two_images(dtype: torch.dtype) -> Tensor:
    return torch.tensor([[i % 2, *box] for i, box in enumerate(BOXES)], dtype=dtype)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('samples', [0, 1, 2])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('size', [(14, 14), (7, 3)])
def test_roi_align(size: tuple[int, int], aligned: bool, samples: int, dtype: torch.dtype) -> None:
    features = (numbers(2, 5, 9, 11) - 0.5).to(dtype)
    rois = rois_of_two_images(dtype)
    gradient = (numbers(len(rois), 5, *size, seed=1) - 0.5).to(dtype)
    settings = dict(
        aligned_height=size[0],
        aligned_width=size[1],
        spatial_scale=1 / 16,
        sampling_ratio=samples,
        pool_mode=1,
        aligned=aligned,
    )
    empty = features.new_zeros(0)
    outputs, gradients = [], []
    for side in SIDES:
        outputs.append(torch.zeros_like(gradient))
        side.roi_align_forward(features, rois, outputs[-1], empty, empty, **settings)
        gradients.append(torch.zeros_like(features))
        side.roi_align_backward(gradient, rois, empty, empty, gradients[-1], **settings)
    assert outputs[0].abs().amax() > 0.1 and gradients[0].abs().amax() > 0.1
    assert torch.equal(*outputs)
    assert torch.equal(*gradients)


def crowd(count: int, ties: bool) -> tuple[Tensor, Tensor]:
    """Overlapping boxes; with ties, whole coordinates and ten different scores."""
    corners = numbers(count, 2, seed=2) * 60
    boxes = torch.cat([corners, corners + 5 + numbers(count, 2, seed=3) * 40], dim=1)
    scores = numbers(count, seed=4)
    if ties:
        return boxes.round(), (scores * 10).ceil() / 10
    return boxes, scores


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
@pytest.mark.parametrize('count', [0, 1, 400])
def test_nms(count: int, threshold: float, offset: int) -> None:
    boxes, scores = crowd(count, ties=False)
    kept = [side.nms(boxes, scores, iou_threshold=threshold, offset=offset) for side in SIDES]
    assert torch.equal(*kept)
    if count > 1:
        assert 1 < len(kept[0]) < count


def soft_nms(side: ModuleType, boxes: Tensor, scores: Tensor, **settings: object) -> tuple:
    dets = boxes.new_zeros(len(boxes), 5)
    indices = side.softnms(boxes, scores, dets, sigma=0.5, **settings)
    return dets[: len(indices)], indices


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', [0, 1, 2])
@pytest.mark.parametrize('min_score', [0.001, 0.2])
@pytest.mark.parametrize('count', [1, 200])
def test_soft_nms(count: int, min_score: float, method: int, offset: int, ties: bool) -> None:
    boxes, scores = crowd(count, ties)
    settings = dict(iou_threshold=0.3, min_score=min_score, method=method, offset=offset)
    (dets, kept), (own_dets, own_kept) = (
        soft_nms(side, boxes, scores, **settings) for side in SIDES
    )
    assert torch.equal(own_kept, kept)
    assert torch.equal(own_dets[:, :4], dets[:, :4])
    # The exponential of C and of NumPy may differ in the last bit, once per decay.
    torch.testing.assert_close(own_dets[:, 4], dets[:, 4], rtol=2e-6, atol=0)
