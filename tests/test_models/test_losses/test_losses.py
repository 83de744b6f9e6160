# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Losses against formulas written out plainly in float64, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from regionclip_mmdet.models.losses import (
    FocalScaledCrossEntropyLoss,
    ImageTextContrastiveLoss,
    ImageTextSigmoidLoss,
    RegionDistillationLoss,
    RegionTextContrastiveLoss,
    cosine_logits,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain_cosine(x: Tensor, y: Tensor) -> Tensor:
    """cos(x_i, y_j), entry by entry, differentiable in both."""
    return torch.stack([torch.stack([(a @ b) / (a @ a * (b @ b)).sqrt() for b in y]) for a in x])


def plain_softmax(row: Tensor) -> Tensor:
    return row.exp() / row.exp().sum()


def assert_same(ours: Callable, plain: Callable, *inputs: Tensor) -> Tensor:
    """Values and gradients by all inputs, in float64."""
    mine = [x.clone().requires_grad_() for x in inputs]
    theirs = [x.clone().requires_grad_() for x in inputs]
    actual, expected = ours(*mine), plain(*theirs)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    gradients = torch.autograd.grad(actual, mine)
    for gradient, reference in zip(gradients, torch.autograd.grad(expected, theirs), strict=True):
        assert reference.abs().max() > 1e-4
        torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-10)
    return actual


class TestCosineLogits:
    def test_formula(self) -> None:
        x, y = randn(4, 6), randn(3, 6, seed=1)
        expected = plain_cosine(x, y) / 0.07
        torch.testing.assert_close(cosine_logits(x, y, 0.07), expected)
        torch.testing.assert_close(cosine_logits(5 * x, 0.1 * y, 0.07), expected)

    def test_is_float32_under_bfloat16_autocast(self) -> None:
        x, y = randn(4, 64).bfloat16(), randn(3, 64, seed=1).float()
        expected = plain_cosine(x.double(), y.double()) / 0.01
        with torch.autocast('cpu', torch.bfloat16):
            logits = cosine_logits(x, y, 0.01)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-4)

    def test_a_zero_row_gives_zero(self) -> None:
        x = torch.zeros(1, 4, requires_grad=True)
        logits = cosine_logits(x, torch.ones(2, 4), 0.01)
        assert logits.tolist() == [[0, 0]]


class TestFocalScaledCrossEntropy:
    LABELS = torch.tensor([0, 2, 3, 3, 1])  # 3 is background

    def plain(
        self, gamma: float, background: float, normalizer: str, weight: float = 1.0
    ) -> Callable[[Tensor], Tensor]:
        def loss(logits: Tensor) -> Tensor:
            total, weights = 0.0, 0.0
            for row, label in zip(logits, self.LABELS.tolist(), strict=True):
                p = plain_softmax(row)[label]
                w = background if label == 3 else 1.0
                total = total + w * (1 - p) ** gamma * -p.log()
                weights += w
            return weight * total / (weights if normalizer == 'weights' else len(logits))

        return loss

    @pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
    @pytest.mark.parametrize('normalizer', ['regions', 'weights'])
    def test_formula(self, gamma: float, normalizer: str) -> None:
        ours = FocalScaledCrossEntropyLoss(gamma, 0.2, normalizer, loss_weight=3.0)
        logits = 2 * randn(5, 4)
        value = assert_same(
            lambda x: ours(x, self.LABELS), self.plain(gamma, 0.2, normalizer, 3.0), logits
        )
        others = {'regions': 'weights', 'weights': 'regions'}
        assert abs(value - self.plain(gamma, 0.2, others[normalizer], 3.0)(logits)) > 0.1

    def test_as_mmdets_head_calls_it(self) -> None:
        loss = MODELS.build(dict(type='FocalScaledCrossEntropyLoss', background_weight=0.2))
        logits, label_weights = randn(5, 4), torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
        rows = loss(logits, self.LABELS, reduction_override='none')
        assert rows.shape == (5,)
        expected = rows[label_weights > 0].sum() / 4
        torch.testing.assert_close(
            loss(logits, self.LABELS, label_weights, avg_factor=4.0), expected
        )
        summed = loss(logits, self.LABELS, label_weights, reduction_override='sum')
        torch.testing.assert_close(summed, 4 * expected)

    def test_certain_regions_have_finite_gradients(self) -> None:
        logits = torch.tensor([[200.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 200.0]], requires_grad=True)
        value = FocalScaledCrossEntropyLoss(0.5)(logits, torch.tensor([0, 0]))
        value.backward()
        assert float(value.detach()) == pytest.approx(100)  # (0 + 200) / 2
        assert logits.grad.isfinite().all()

    def test_float32_under_autocast(self) -> None:
        logits = (50 * randn(5, 4)).bfloat16()
        with torch.autocast('cpu', torch.bfloat16):
            value = FocalScaledCrossEntropyLoss(0.5)(logits, self.LABELS)
        assert value.dtype == torch.float32
        expected = FocalScaledCrossEntropyLoss(0.5)(logits.double(), self.LABELS)
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)

    def test_no_region(self) -> None:
        logits = torch.zeros(0, 4, requires_grad=True)
        for normalizer in ('regions', 'weights'):
            loss = FocalScaledCrossEntropyLoss(0.5, normalizer=normalizer)
            value = loss(logits, torch.zeros(0, dtype=torch.long))
            value.backward()
            assert float(value.detach()) == 0

    def test_refuses_an_unknown_normalizer(self) -> None:
        with pytest.raises(ValueError, match="'regions' or 'weights', not 'mean'"):
            FocalScaledCrossEntropyLoss(normalizer='mean')


class TestRegionTextContrast:
    LABELS = torch.tensor([1, 0, 1, 4, 0, 1])

    def plain(self, regions: Tensor, concepts: Tensor) -> Tensor:
        logits = plain_cosine(regions, torch.stack([concepts[y] for y in self.LABELS])) / 0.1
        total = 0.0
        for row, label in zip(logits, self.LABELS, strict=True):
            positive = sum(p for p, y in zip(plain_softmax(row), self.LABELS) if y == label)
            total = total - positive.log()
        return 2.5 * total / len(self.LABELS)

    def test_formula(self) -> None:
        ours = RegionTextContrastiveLoss(0.1, loss_weight=2.5)
        regions, concepts = randn(6, 8), randn(5, 8, seed=1)
        assert_same(lambda x, c: ours(x, c, self.LABELS), self.plain, regions, concepts)

    def test_nothing_to_contrast(self) -> None:
        regions = torch.randn(4, 8, requires_grad=True)
        loss = RegionTextContrastiveLoss()
        value = loss(regions, torch.randn(5, 8), torch.tensor([2, 2, 2, 2]))
        value.backward()
        assert float(value.detach()) == pytest.approx(0, abs=1e-5)
        assert regions.grad.abs().max() < 1e-4
        value = loss(regions[:0], torch.randn(5, 8), torch.zeros(0, dtype=torch.long))
        assert float(value.detach()) == 0 and value.requires_grad

    def test_hopeless_regions_stay_finite(self) -> None:
        regions = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
        concepts = torch.tensor([[-1.0, 1e-3], [1.0, 0.0]])
        value = RegionTextContrastiveLoss(0.001)(regions, concepts, torch.tensor([0, 1]))
        value.backward()
        assert float(value.detach()) == pytest.approx(1000, rel=1e-3)  # (2000 + 0) / 2
        assert regions.grad.isfinite().all()

    def test_float32_under_autocast(self) -> None:
        regions, concepts = randn(6, 8).bfloat16(), randn(5, 8, seed=1).bfloat16()
        with torch.autocast('cpu', torch.bfloat16):
            value = RegionTextContrastiveLoss(0.01)(regions, concepts, self.LABELS)
        assert value.dtype == torch.float32
        expected = RegionTextContrastiveLoss(0.01)(regions.double(), concepts.double(), self.LABELS)
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)


class TestRegionDistillation:
    TARGETS = (3 * randn(6, 5, seed=2)).softmax(-1)

    def plain(self, regions: Tensor, concepts: Tensor) -> Tensor:
        logits = plain_cosine(regions, concepts) / 0.1
        total = 0.0
        for row, target in zip(logits, self.TARGETS, strict=True):
            p = plain_softmax(row)
            total = total + sum(q * (q.log() - s.log()) for q, s in zip(target, p))
        return 2.5 * total / len(logits)

    def test_formula(self) -> None:
        ours = RegionDistillationLoss(0.1, loss_weight=2.5)
        regions, concepts = randn(6, 8), randn(5, 8, seed=1)
        assert_same(lambda x, c: ours(x, c, self.TARGETS), self.plain, regions, concepts)

    def test_underflowing_probabilities_stay_finite(self) -> None:
        """The student's second probability is exp(-1000); the official log of it is infinite."""
        regions = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
        concepts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
        value = RegionDistillationLoss(0.001)(regions, concepts, targets)
        value.backward()
        assert float(value.detach()) == pytest.approx((math.log(0.5) + 0.5 * 1000) / 2)
        assert regions.grad.isfinite().all()

    def test_no_region(self) -> None:
        regions = torch.randn(4, 8, requires_grad=True)
        value = RegionDistillationLoss()(regions[:0], torch.randn(5, 8), torch.zeros(0, 5))
        value.backward()
        assert float(value.detach()) == 0

    def test_float32_under_autocast(self) -> None:
        regions, concepts = randn(6, 8).bfloat16(), randn(5, 8, seed=1).bfloat16()
        with torch.autocast('cpu', torch.bfloat16):
            value = RegionDistillationLoss(0.01)(regions, concepts, self.TARGETS.float())
        assert value.dtype == torch.float32
        expected = RegionDistillationLoss(0.01)(regions.double(), concepts.double(), self.TARGETS)
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)


class TestImageTextContrast:
    def plain(self, images: Tensor, texts: Tensor) -> Tensor:
        logits = plain_cosine(images, texts) / 0.1
        total = 0.0
        for i in range(len(images)):
            total = total - plain_softmax(logits[i])[i].log()
            total = total - plain_softmax(logits[:, i])[i].log()
        return 2.5 * total / len(images) / 2

    def test_formula(self) -> None:
        ours = ImageTextContrastiveLoss(0.1, loss_weight=2.5)
        assert_same(ours, self.plain, randn(4, 8), randn(4, 8, seed=1))

    def test_float32_under_autocast(self) -> None:
        images, texts = randn(4, 8).bfloat16(), randn(4, 8, seed=1).float()
        with torch.autocast('cpu', torch.bfloat16):
            value = ImageTextContrastiveLoss(0.01)(images, texts)
        assert value.dtype == torch.float32
        expected = ImageTextContrastiveLoss(0.01)(images.double(), texts.double())
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)


class TestImageTextSigmoid:
    def plain(self, images: Tensor, texts: Tensor) -> Tensor:
        logits = 4 * plain_cosine(images, texts) - 1.5
        total = 0.0
        for i in range(len(images)):
            for j in range(len(texts)):
                sign = 1 if i == j else -1
                total = total + (1 + (-sign * logits[i, j]).exp()).log()
        return 2.5 * total / len(images)

    def test_formula(self) -> None:
        ours = ImageTextSigmoidLoss(4.0, -1.5, loss_weight=2.5)
        assert_same(ours, self.plain, randn(4, 8), randn(4, 8, seed=1))

    def test_begins_as_in_the_paper(self) -> None:
        learned = dict(ImageTextSigmoidLoss().named_parameters())
        assert set(learned) == {'log_scale', 'bias'}
        assert float(learned['log_scale'].detach()) == pytest.approx(math.log(10))
        assert float(learned['bias'].detach()) == -10

    def test_what_is_not_learned_is_the_configs_alone(self) -> None:
        fixed = ImageTextSigmoidLoss(scale=4.0, learnable=False)
        assert not list(fixed.parameters()) and not fixed.state_dict()
        with pytest.raises(ValueError, match='scale must be positive, not 0'):
            ImageTextSigmoidLoss(scale=0)

    def test_large_logits_stay_finite(self) -> None:
        """Pairs at logit 0, others at 200, whose exp overflows in float32."""
        images = torch.eye(2).requires_grad_()
        value = ImageTextSigmoidLoss(200.0, 0.0)(images, torch.eye(2).flip(0))
        value.backward()
        assert float(value.detach()) == pytest.approx(math.log(2) + 200)
        assert images.grad.isfinite().all()

    def test_float32_under_autocast(self) -> None:
        images, texts = randn(4, 8).bfloat16(), randn(4, 8, seed=1).float()
        with torch.autocast('cpu', torch.bfloat16):
            value = ImageTextSigmoidLoss(100.0)(images, texts)
        assert value.dtype == torch.float32
        expected = ImageTextSigmoidLoss(100.0).double()(images.double(), texts.double())
        assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
