# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The localizer under autocast, with SyncBN, on pyramids, huge images and broken numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import nms

from helpers import tiny_models
from regionclip_mmdet.models.localizers import RPNLocalizer

SIZES = ((80, 96), (64, 112))
METAS = [dict(img_shape=size) for size in SIZES]
FPN = dict(
    backbone=dict(tiny_models.LOCALIZER['backbone'], out_indices=(0, 1)),
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=16, num_outs=3),
    rpn_head=dict(
        tiny_models.LOCALIZER['rpn_head'],
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0], strides=[4, 8, 16]
        ),
    ),
    pad_size_divisor=32,
)


def build(**settings: object) -> RPNLocalizer:
    model = tiny_models.fill(MODELS.build(tiny_models.localizer(**settings)))
    model.rpn_head.rpn_cls.weight.mul_(20)  # spread logits: no near ties
    return model


def assert_equal(found: list, expected: list) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs) > 3
        assert torch.equal(ours.bboxes, theirs.bboxes)
        assert torch.equal(ours.objectness_logits, theirs.objectness_logits)


def convolution_dtypes(model: nn.Module) -> set[torch.dtype]:
    """Fills with the types of all convolutions' outputs while the model runs."""
    seen = set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, out: seen.add(out.dtype))
    return seen


class TestAutocast:
    def test_float32_unless_asked(self) -> None:
        model, batch = build(**FPN), tiny_models.images(*SIZES)
        expected = model(batch, METAS)
        seen = convolution_dtypes(model)
        with torch.autocast('cpu', torch.bfloat16):
            found = model(batch, METAS)
        assert seen == {torch.float32}
        assert_equal(found, expected)

    def test_reduced_on_request_with_float32_results(self) -> None:
        model, batch = build(follow_autocast=True, **FPN), tiny_models.images(*SIZES)
        seen = convolution_dtypes(model)
        exact = model(batch, METAS)
        assert seen == {torch.float32}
        seen.clear()
        with torch.autocast('cpu', torch.bfloat16):
            found = model(batch, METAS)
        assert seen == {torch.bfloat16}
        for ours, theirs in zip(found, exact, strict=True):
            assert {v.dtype for v in ours.values()} == {torch.float32}
            best, scale = theirs.objectness_logits[0], theirs.objectness_logits.std()
            assert 0 < (ours.objectness_logits[0] - best).abs() < 0.2 * scale

    def test_reduced_inputs_are_taken(self) -> None:
        model, batch = build(), tiny_models.images(*SIZES).bfloat16()
        assert_equal(model(batch, METAS), model(batch.float(), METAS))


class TestSyncBN:
    def test_configured(self) -> None:
        settings = copy.deepcopy(FPN)
        expected = build(**settings)
        settings['backbone']['norm_cfg'] = dict(type='SyncBN', requires_grad=False)
        model = build(**settings)
        assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) > 5
        model.load_state_dict(expected.state_dict())
        batch = tiny_models.images(*SIZES)
        assert_equal(model(batch, METAS), expected(batch, METAS))

    def test_converted(self) -> None:
        """As a runner with ``sync_bn='torch'`` does with the whole model."""
        model, batch = build(**FPN), tiny_models.images(*SIZES)
        expected = model(batch, METAS)
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) > 5
        model.train()
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        before = {k: v.clone() for k, v in model.state_dict().items()}
        assert_equal(model(batch, METAS), expected)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class TestPadding:
    def test_own_padding_equals_a_padded_batch(self) -> None:
        model, batch = build(**FPN), tiny_models.images(*SIZES)
        assert batch.shape[-2:] == (80, 112)
        padded = nn.functional.pad(batch, (0, 16, 0, 16), value=7.0)
        assert_equal(model(batch, METAS), model(padded, METAS))

    @pytest.mark.parametrize('size', [(33, 65), (31, 97), (64, 96), (1, 1)])
    def test_levels_fit_the_padded_size(self, size: tuple[int, int]) -> None:
        """A coarse map, doubled, must have the fine map's size, whatever the image's."""
        model, seen = build(**FPN), []
        model.neck.register_forward_hook(lambda m, i, out: seen.extend(out))
        (found,) = model(tiny_models.images(size), [dict(img_shape=size)])
        height, width = (-(-side // 32) * 32 for side in size)
        assert [tuple(m.shape[-2:]) for m in seen] == [
            (height // stride, width // stride) for stride in (4, 8, 16)
        ]
        assert len(found) > 0
        assert (found.bboxes >= 0).all() and (
            found.bboxes.amax(0) <= torch.tensor(size[::-1] * 2)
        ).all()


class TestHugeImages:
    def test_equals_suppression_level_by_level(self) -> None:
        """Far from the origin, and above the 10000 boxes from which mmcv suppresses in parts."""
        model = build(test_cfg=dict(nms_pre=0, max_per_img=500))
        height, width, levels, per_level = 12_000, 30_000, 4, 3000
        generator = torch.Generator().manual_seed(0)
        logits, deltas, priors = [], [], []
        for _ in range(levels):
            center = torch.rand(per_level, 2, generator=generator) * torch.tensor([60.0, 40.0])
            corner = center + torch.tensor([width - 100.0, height - 100.0])
            sides = 8 + 20 * torch.rand(per_level, 2, generator=generator)
            priors.append(torch.cat([corner, corner + sides], 1))
            logits.append(torch.randn(1, per_level, 1, generator=generator))
            deltas.append(torch.zeros(4, per_level, 1))
        found = model._select(logits, deltas, priors, (height, width))
        expected_boxes, expected_logits = self.by_hand(logits, priors, (height, width))
        assert len(expected_logits) > 500
        assert torch.equal(found.objectness_logits, expected_logits[:500])
        torch.testing.assert_close(found.bboxes, expected_boxes[:500], rtol=0, atol=0.01)

    @staticmethod
    def by_hand(
        logits: list[Tensor], priors: list[Tensor], shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Zero deltas: the clipped anchors, suppressed per level, in float64."""
        limit = torch.tensor(shape[::-1] * 2).double()
        boxes = [p.double().minimum(limit) for p in priors]
        flat = [x.flatten() for x in logits]
        keep = [nms(b, x.double(), 0.7) for b, x in zip(boxes, flat, strict=True)]
        kept = torch.cat([x[k] for x, k in zip(flat, keep, strict=True)])
        kept_boxes = torch.cat([b[k] for b, k in zip(boxes, keep, strict=True)])
        order = kept.argsort(descending=True)
        return kept_boxes[order].float(), kept[order]


class TestNothingToPropose:
    def test_batches_may_mix_empty_and_full(self) -> None:
        model = build(test_cfg=dict(min_bbox_size=70, nms_pre=-1))
        batch = tiny_models.images((96, 128), (64, 128))
        model.rpn_head.rpn_reg.bias.view(-1, 4)[:, 2:] = 4.0  # boxes as large as the image
        full, empty = model(batch, [dict(img_shape=(96, 128)), dict(img_shape=(64, 128))])
        assert len(full) > 0 and len(empty) == 0
        assert empty.bboxes.shape == (0, 4)
        assert empty.scores.shape == empty.objectness_logits.shape == (0,)
        assert {v.dtype for v in empty.values()} == {torch.float32}

    @pytest.mark.parametrize('value', [float('nan'), float('inf')])
    def test_broken_logits_propose_nothing(self, value: float) -> None:
        model = build()
        model.rpn_head.rpn_cls.bias.fill_(value)
        for found in model(tiny_models.images(*SIZES), METAS):
            assert found.bboxes.shape == (0, 4)

    @pytest.mark.parametrize('value', [float('nan'), float('inf')])
    def test_broken_logits_take_no_places(self, value: float) -> None:
        few, batch = build(test_cfg=dict(nms_pre=5)), tiny_models.images(*SIZES)
        few.rpn_head.rpn_cls.bias[0] = float('-inf')
        expected = few(batch, METAS)
        few.rpn_head.rpn_cls.bias[0] = value
        found = few(batch, METAS)
        assert_equal(found, expected)
        assert all(len(proposals) > 0 for proposals in found)

    def test_broken_boxes_are_dropped_before_suppression(self) -> None:
        """Left with the other anchors' boxes: those of the same head without the broken anchor."""
        everything = dict(nms_pre=0, max_per_img=-1, nms=dict(type='nms', iou_threshold=0.5))
        model, batch = build(test_cfg=everything), tiny_models.images(*SIZES)
        model.rpn_head.rpn_cls.bias[0] = float('-inf')
        expected = model(batch, METAS)
        model.rpn_head.rpn_cls.bias[0] = 1000.0
        model.rpn_head.rpn_reg.bias[:4] = float('nan')
        assert_equal(model(batch, METAS), expected)

    def test_the_detector_goes_on(self) -> None:
        localizer = tiny_models.localizer(test_cfg=dict(min_bbox_size=1000))
        detector = MODELS.build(
            tiny_models.detector_config(localizer=localizer, bbox_head=dict(with_reg=False))
        )
        detector.eval()
        detector.init_weights()
        with torch.no_grad():
            results = detector.predict(tiny_models.images(*SIZES), tiny_models.samples(*SIZES))
        assert [len(result.pred_instances) for result in results] == [0, 0]
        assert results[0].pred_instances.bboxes.shape == (0, 4)
