# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The localizer: its own normalization, frozen for good, selection as mmdet's but on logits."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor
from torchvision.ops import box_iou

from helpers import tiny_models
from regionclip_mmdet.models.localizers import RPNLocalizer, get_proposals

SIZES = ((80, 96), (64, 112))
METAS = [dict(img_shape=size) for size in SIZES]


def build(**settings: object) -> RPNLocalizer:
    model = tiny_models.fill(MODELS.build(tiny_models.localizer(**settings)))
    # spread logits and boxes, so that order, clipping and suppression all have something to do
    with torch.no_grad():
        feats = model.backbone(model.convert_inputs(tiny_models.images(*SIZES), SIZES))
        (logits,), (deltas,) = model.rpn_head(feats)
        model.rpn_head.rpn_cls.weight.mul_(3 / logits.std())
        model.rpn_head.rpn_reg.weight.mul_(1 / deltas.std())
    return model


class TestConversion:
    def test_raw_pixels_become_bgr_minus_mean(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (1, 3, 5, 7), generator=generator).float()
        mean = torch.tensor([122.7709383, 116.7460125, 104.09373615]).view(3, 1, 1)
        std = torch.tensor([68.5005327, 66.6321579, 70.32316305]).view(3, 1, 1)
        converted = build(std=(1.0, 1.0, 1.0)).convert_inputs((pixels - mean) / std, [(5, 7)])
        expected = pixels[:, [2, 1, 0]] - torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
        torch.testing.assert_close(converted, expected, rtol=0, atol=1e-4)

    def test_own_statistics_and_rgb(self) -> None:
        model = build(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), bgr=False)
        x = torch.zeros(1, 3, 2, 2)
        expected = [(122.7709383 - 1) / 2, (116.7460125 - 2) / 4, (104.09373615 - 3) / 8]
        assert model.convert_inputs(x, [(2, 2)])[0, :, 1, 1].tolist() == pytest.approx(expected)

    def test_padding_is_zero_again_and_a_multiple_of_the_divisor(self) -> None:
        batch = tiny_models.images((40, 50), (33, 70))
        before = batch.clone()
        converted = build(pad_size_divisor=32).convert_inputs(batch, [(40, 50), (33, 70)])
        assert converted.shape == (2, 3, 64, 96)
        for image, (height, width) in zip(converted, ((40, 50), (33, 70)), strict=True):
            inside = torch.zeros(64, 96, dtype=torch.bool)
            inside[:height, :width] = True
            assert (image[:, ~inside] == 0).all()
            assert (image[:, inside] != 0).all()
        assert torch.equal(batch, before)

    def test_no_padding_without_need(self) -> None:
        x = torch.zeros(1, 3, 64, 96)
        assert build(pad_size_divisor=32).convert_inputs(x, [(64, 96)]).shape == x.shape
        assert build().convert_inputs(x[..., :95], [(64, 95)]).shape == (1, 3, 64, 95)


class TestFrozen:
    def test_stays_in_eval_mode_without_gradients(self) -> None:
        detector = MODELS.build(tiny_models.detector_config(localizer=tiny_models.localizer()))
        detector.train()
        assert detector.training and detector.backbone.training
        assert not any(m.training for m in detector.localizer.modules())
        assert not any(p.requires_grad for p in detector.localizer.parameters())

    def test_training_steps_change_nothing(self) -> None:
        detector = MODELS.build(tiny_models.detector_config(localizer=tiny_models.localizer()))
        detector.init_weights()
        detector.train()
        before = {k: v.clone() for k, v in detector.localizer.state_dict().items()}
        assert 'backbone.bn1.running_mean' in before
        optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], 0.01)
        for _ in range(2):
            losses = detector.loss(tiny_models.images(*SIZES), tiny_models.samples(*SIZES))
            (losses['loss_cls'] + losses['loss_bbox']).backward()
            optimizer.step()
        after = detector.localizer.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        assert all(p.grad is None for p in detector.localizer.parameters())

    def test_its_tensors_can_be_used_in_graphs(self) -> None:
        (found,) = build()(tiny_models.images(SIZES[0]), METAS[:1])
        assert not found.bboxes.is_inference() and not found.bboxes.requires_grad
        weight = torch.ones(4, requires_grad=True)
        (found.bboxes * weight).sum().backward()


class TestSelection:
    def reference(self, model: RPNLocalizer, batch: Tensor) -> list:
        """mmdet's own selection from the same maps."""
        feats = model.backbone(model.convert_inputs(batch, SIZES))
        return model.rpn_head.predict_by_feat(
            *model.rpn_head(feats), batch_img_metas=METAS, cfg=ConfigDict(model.test_cfg)
        )

    @torch.no_grad()
    @pytest.mark.parametrize(
        'settings',
        [
            dict(nms_pre=60, max_per_img=10),
            dict(nms_pre=1000, max_per_img=1000),
            dict(nms_pre=-1, max_per_img=50),
            dict(nms_pre=30, max_per_img=50, min_bbox_size=12),
        ],
    )
    def test_equals_mmdets_rpn(self, settings: dict) -> None:
        test_cfg = dict(nms=dict(type='nms', iou_threshold=0.5), min_bbox_size=0)
        model = build(test_cfg={**test_cfg, **settings})
        batch = tiny_models.images(*SIZES)
        for ours, theirs in zip(model(batch, METAS), self.reference(model, batch), strict=True):
            assert len(ours) > 3 and float(ours.objectness_logits.abs().max()) < 15
            assert len(ours) == len(theirs)
            torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=0, atol=1e-3)  # pixels
            torch.testing.assert_close(ours.scores, theirs.scores)
            torch.testing.assert_close(ours.scores, ours.objectness_logits.sigmoid())

    @torch.no_grad()
    def test_no_limits(self) -> None:
        everything = dict(nms_pre=0, max_per_img=-1, nms=dict(type='nms', iou_threshold=1.0))
        found = build(test_cfg=everything)(tiny_models.images(*SIZES), METAS)
        anchors = 10 * 14 * 4  # the batch is 80 x 112, stride 8
        assert 0.7 * anchors < len(found[0]) <= anchors

    @torch.no_grad()
    @pytest.mark.parametrize('nms_pre', [40, 1000])
    def test_saturated_logits_keep_their_order(self, nms_pre: int) -> None:
        """From about 17 on, sigmoid is 1 in float32 and mmdet's order is arbitrary."""
        model = build(test_cfg=dict(nms_pre=nms_pre, max_per_img=1000))
        model.rpn_head.rpn_cls.bias.fill_(60)
        for found in model(tiny_models.images(*SIZES), METAS):
            logits = found.objectness_logits
            assert logits.min() > 20 and (found.scores == 1).all()
            assert logits.unique().numel() > 10
            assert (logits[:-1] >= logits[1:]).all()
            # greedy suppression in the logits' order: no kept box overlaps a better one too much
            overlap = box_iou(found.bboxes, found.bboxes).triu(1)
            assert overlap.max() <= 0.7
        model.rpn_head.rpn_cls.bias.fill_(0)
        usual = model(tiny_models.images(*SIZES), METAS)
        model.rpn_head.rpn_cls.bias.fill_(60)
        shifted = model(tiny_models.images(*SIZES), METAS)
        for a, b in zip(usual, shifted, strict=True):  # a shift of all logits changes nothing
            assert len(a) == len(b)
            assert (box_iou(a.bboxes, b.bboxes).max(1).values > 0.999).all()

    @torch.no_grad()
    def test_boxes_lie_in_the_unpadded_image(self) -> None:
        for found, (height, width) in zip(
            build()(tiny_models.images(*SIZES), METAS), SIZES, strict=True
        ):
            assert found.bboxes.min() >= 0
            assert found.bboxes[:, 0::2].max() <= width and found.bboxes[:, 1::2].max() <= height
            assert (found.bboxes[:, 2:] > found.bboxes[:, :2]).all()

    @torch.no_grad()
    def test_padding_content_does_not_matter(self) -> None:
        model, batch = build(), tiny_models.images(*SIZES)
        expected = model(batch, METAS)
        dirty = batch.clone()
        dirty[0, :, :, 96:] = 5
        dirty[1, :, 64:] = -3
        for a, b in zip(model(dirty, METAS), expected, strict=True):
            assert torch.equal(a.bboxes, b.bboxes)

    @torch.no_grad()
    def test_levels_are_suppressed_apart(self) -> None:
        """Two equal FPN levels: every box occurs twice, as each level is suppressed alone."""
        model = build(test_cfg=dict(nms_pre=20, max_per_img=-1))
        feats = model.backbone(model.convert_inputs(tiny_models.images((64, 64)), [(64, 64)]))
        logits, deltas = model.rpn_head(feats)
        priors = model.rpn_head.prior_generator.grid_priors([logits[0].shape[-2:]], device='cpu')
        single = ([logits[0][0]], [deltas[0][0]], priors, (64, 64))
        once = model._select(*single)
        twice = model._select(*(part * 2 for part in single[:3]), single[3])
        assert len(twice) == 2 * len(once) > 4
        assert torch.equal(twice.objectness_logits[::2], once.objectness_logits)

    @torch.no_grad()
    def test_the_best_of_all_levels_stay_when_saturated(self) -> None:
        model = build(test_cfg=dict(nms_pre=40, max_per_img=8))
        feats = model.backbone(model.convert_inputs(tiny_models.images((64, 64)), [(64, 64)]))
        logits, deltas = model.rpn_head(feats)
        priors = model.rpn_head.prior_generator.grid_priors([logits[0].shape[-2:]], device='cpu')
        weak, strong = logits[0][0] + 60, logits[0][0] + 90
        inputs = (deltas[0][0],) * 2, priors * 2, (64, 64)
        found = model._select([weak, strong], *inputs).objectness_logits
        expected = model._select([strong, weak], *inputs).objectness_logits
        assert torch.equal(found, expected) and found.min() > 80

    @torch.no_grad()
    def test_nothing_valid(self) -> None:
        (found,) = build(test_cfg=dict(min_bbox_size=1000))(tiny_models.images(SIZES[0]), METAS[:1])
        assert found.bboxes.shape == (0, 4) and found.objectness_logits.shape == (0,)


def test_refuses_a_softmax_objectness() -> None:
    head = dict(tiny_models.LOCALIZER['rpn_head'])
    head['loss_cls'] = dict(type='CrossEntropyLoss', use_sigmoid=False)
    with pytest.raises(ValueError, match='one objectness logit per anchor.*use_sigmoid=True'):
        MODELS.build(tiny_models.localizer(rpn_head=head))


class TestGetProposals:
    def test_those_of_the_samples_come_first(self) -> None:
        samples = tiny_models.samples(*SIZES, proposals=[torch.ones(2, 4), torch.zeros(0, 4)])
        found = get_proposals(None, tiny_models.images(*SIZES), samples)
        assert [len(f) for f in found] == [2, 0]
        found[0].pop('bboxes')
        assert len(samples[0].proposals.bboxes) == 2

    def test_else_the_localizers(self) -> None:
        model, batch = build(), tiny_models.images(*SIZES)
        found = get_proposals(model, batch, tiny_models.samples(*SIZES))
        for a, b in zip(found, model(batch, METAS), strict=True):
            assert torch.equal(a.bboxes, b.bboxes)

    def test_errors(self) -> None:
        samples = tiny_models.samples(*SIZES)
        batch = tiny_models.images(*SIZES)
        with pytest.raises(ValueError, match='no proposals and the model has no localizer'):
            get_proposals(None, batch, samples)
        mixed = [*samples[:1], *tiny_models.samples(SIZES[1], proposals=[torch.ones(1, 4)])]
        with pytest.raises(ValueError, match='Some samples .* carry proposals and others do not'):
            get_proposals(build(), batch, mixed)
