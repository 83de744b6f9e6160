# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Mask head: targets cut out of boxes, loss, start values, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.roi_heads import RegionMaskHead
from regionclip_mmdet.models.roi_heads.region_mask_head import rasterize_polygons

LEFT = [10.0, 20.0, 14.0, 20.0, 14.0, 28.0, 10.0, 28.0]  # 4 wide, 8 high
RIGHT = [14.0, 20.0, 18.0, 20.0, 18.0, 28.0, 14.0, 28.0]


def polygons(*objects: list[list[float]]) -> PolygonMasks:
    return PolygonMasks([[np.array(p) for p in parts] for parts in objects], 40, 40)


def cut(masks: PolygonMasks, box: list[float], size: tuple[int, int] = (4, 4)) -> list:
    return rasterize_polygons(masks, torch.tensor([0]), torch.tensor([box]), size)[0].tolist()


def sampled(boxes: list[list[float]], assigned: list[int], objects: int) -> SamplingResult:
    """Foreground boxes with the objects they belong to, and one background box."""
    priors = torch.tensor([*boxes, [0.0, 0.0, 5.0, 5.0]])
    count = len(boxes)
    labels = torch.tensor([3] * count + [7])
    gt_inds = torch.tensor([a + 1 for a in assigned] + [0])
    return SamplingResult(
        torch.arange(count),
        torch.tensor([count]),
        priors,
        torch.zeros(objects, 4),
        AssignResult(objects, gt_inds, None, labels),
        torch.zeros(count + 1, dtype=torch.uint8),
    )


def loss_and_target(head: RegionMaskHead, logits: Tensor, results: list, masks: list) -> tuple:
    instances = [InstanceData(masks=m) for m in masks]
    found = head.loss_and_target(logits, results, instances, ConfigDict(pos_weight=-1))
    return found['loss_mask']['loss_mask'], found['mask_targets']


class TestTargets:
    def test_the_left_half_of_a_box(self) -> None:
        assert cut(polygons([LEFT]), [10.0, 20.0, 18.0, 28.0]) == [[1, 1, 0, 0]] * 4

    def test_height_and_width_are_stretched_each_on_its_own(self) -> None:
        expected = [[0, 0], [1, 1], [1, 1]]
        assert cut(polygons([LEFT]), [10.0, 16.0, 14.0, 28.0], (3, 2)) == expected

    def test_parts_of_one_object_are_united(self) -> None:
        both = polygons([LEFT, RIGHT])
        assert cut(both, [10.0, 20.0, 18.0, 28.0]) == [[1, 1, 1, 1]] * 4

    def test_a_box_beyond_the_image_is_not_clipped(self) -> None:
        """Its left half lies outside; the object fills the right one."""
        masks = polygons([[0.0, 0.0, 8.0, 0.0, 8.0, 8.0, 0.0, 8.0]])
        box = torch.tensor([[-8.0, 0.0, 8.0, 8.0]])
        found = rasterize_polygons(masks, torch.tensor([0]), box, (4, 4))
        assert found[0].tolist() == [[0, 0, 1, 1]] * 4
        assert box.tolist() == [[-8.0, 0.0, 8.0, 8.0]]

    def test_boxes_below_a_pixel_keep_their_size(self) -> None:
        """The object covers the left half of a box of half a pixel."""
        half = [10.0, 20.0, 10.25, 20.0, 10.25, 20.5, 10.0, 20.5]
        box = [10.0, 20.0, 10.5, 20.5]
        assert cut(polygons([half]), box) == [[1, 1, 0, 0]] * 4
        # mmdet takes the box for one of a whole pixel
        crop = polygons([half]).crop_and_resize(np.array([box]), (4, 4), np.array([0]))
        assert crop.to_ndarray()[0].tolist() == [[1, 0, 0, 0]] * 2 + [[0, 0, 0, 0]] * 2

    def test_a_box_without_extent(self) -> None:
        assert cut(polygons([LEFT]), [12.0, 24.0, 12.0, 24.0]) == [[1, 1, 1, 1]] * 4

    def test_regions_of_a_batch_find_their_objects(self) -> None:
        results = [
            sampled([[10.0, 20.0, 18.0, 28.0]] * 2, [1, 0], objects=2),
            sampled([], [], objects=0),
            sampled([[6.0, 20.0, 14.0, 28.0]], [0], objects=1),
        ]
        masks = [polygons([LEFT], [RIGHT]), polygons(), polygons([LEFT])]
        logits = torch.zeros(3, 1, 2, 2)
        _, targets = loss_and_target(RegionMaskHead(8), logits, results, masks)
        assert targets.tolist() == [[[0, 1]] * 2, [[1, 0]] * 2, [[0, 1]] * 2]

    def test_bitmaps_serve_too(self) -> None:
        bitmap = np.zeros((1, 40, 40), np.uint8)
        bitmap[0, 20:28, 10:14] = 1
        results = [sampled([[10.0, 20.0, 18.0, 28.0]], [0], objects=1)]
        masks = [BitmapMasks(bitmap, 40, 40)]
        _, targets = loss_and_target(RegionMaskHead(8), torch.zeros(1, 1, 4, 4), results, masks)
        assert targets.tolist() == [[[1, 1, 0, 0]] * 4]

    def test_samples_without_masks(self) -> None:
        results = [sampled([[10.0, 20.0, 18.0, 28.0]], [0], objects=1)]
        instances = [InstanceData(bboxes=torch.zeros(1, 4))]
        with pytest.raises(ValueError, match='carry none. Load them: .*poly2mask=False'):
            RegionMaskHead(8).loss_and_target(
                torch.zeros(1, 1, 4, 4), results, instances, ConfigDict()
            )


class TestLoss:
    def test_mean_over_all_pixels_of_all_regions(self) -> None:
        results = [
            sampled([[10.0, 20.0, 18.0, 28.0]] * 2, [0, 0], objects=1),
            sampled([[6.0, 20.0, 14.0, 28.0]], [0], objects=1),
        ]
        logits = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
        loss, targets = loss_and_target(
            RegionMaskHead(8), logits, results, [polygons([LEFT]), polygons([LEFT])]
        )
        p = logits[:, 0].sigmoid()
        expected = -torch.where(targets > 0, p, 1 - p).log().sum() / 12
        torch.testing.assert_close(loss.squeeze(), expected)

    def test_no_foreground_still_reaches_every_parameter(self) -> None:
        head = RegionMaskHead(8)
        maps = torch.rand(0, 8, 2, 2, requires_grad=True)
        loss, targets = loss_and_target(
            head, head(maps), [sampled([], [], objects=0)], [polygons()]
        )
        assert float(loss.detach()) == 0 and targets.shape == (0, 4, 4)
        loss.backward()
        for parameter in head.parameters():
            assert parameter.grad is not None and not parameter.grad.any()


def test_logits() -> None:
    """Deconvolution without overlap: each pixel of the map becomes four, by its own weights."""
    head = RegionMaskHead(3, conv_out_channels=5)
    maps = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = head(maps)
    assert found.shape == (2, 1, 4, 4)
    state = {key: value.detach() for key, value in head.state_dict().items()}
    for y, x in ((0, 0), (1, 2), (3, 3)):
        weight = state['upsample.weight'][:, :, y % 2, x % 2]
        hidden = (maps[:, :, y // 2, x // 2] @ weight + state['upsample.bias']).relu()
        expected = hidden @ state['conv_logits.weight'][0, :, 0, 0] + state['conv_logits.bias']
        torch.testing.assert_close(found[:, 0, y, x], expected)


@torch.no_grad()
def test_training_starts_near_even_odds() -> None:
    torch.manual_seed(0)
    head = RegionMaskHead(2048)
    head.init_weights()
    assert float(head.conv_logits.weight.std()) == pytest.approx(0.001, rel=0.2)
    # torch counts a deconvolution's 2048 * 2 * 2 inputs as its fan-out
    assert float(head.upsample.weight.std()) == pytest.approx((2 / 8192) ** 0.5, rel=0.02)
    assert not head.upsample.bias.any() and not head.conv_logits.bias.any()


def test_logits_are_float32_under_autocast() -> None:
    with torch.autocast('cpu', torch.bfloat16):
        assert RegionMaskHead(8)(torch.rand(2, 8, 2, 2)).dtype == torch.float32
