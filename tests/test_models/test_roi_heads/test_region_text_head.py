# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pseudo labels of the teacher and the losses made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from regionclip_mmdet.models.losses import RegionDistillationLoss, RegionTextContrastiveLoss
from regionclip_mmdet.models.roi_heads import RegionTextHead
from regionclip_mmdet.models.text import TextEmbeddings

NAMES = ('a', 'b', 'c')
WATCHED = ('regions_kept', 'teacher_agreement', 'teacher_score')


def axes(names: tuple[str, ...] = NAMES) -> TextEmbeddings:
    """Concept i is the i-th axis, so that a region's cosines are its normalized coordinates."""
    return TextEmbeddings(names, 3 * torch.eye(len(names)))


def region(*probs: float) -> Tensor:
    """A unit vector whose softmax at temperature 1 is the given distribution."""
    logits = torch.tensor(probs).log()
    # add a constant c so that the vector has norm 1: |logits + c|^2 = 1
    mean, spread = logits.mean(), ((logits - logits.mean()) ** 2).sum()
    return logits - mean + ((1 - spread) / len(probs)).sqrt()


REGIONS = torch.stack([region(0.5, 0.3, 0.2), region(0.3, 0.4, 0.3), region(0.25, 0.3, 0.45)])


def head(**settings: object) -> RegionTextHead:
    return RegionTextHead(**{**dict(concept_pool=axes(), teacher_temperature=1.0), **settings})


class TestPseudoLabels:
    def test_distribution_and_labels(self) -> None:
        found = head().pseudo_label(7 * REGIONS)
        expected = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.25, 0.3, 0.45]])
        torch.testing.assert_close(found.probs, expected)
        assert found.labels.tolist() == [0, 1, 2]
        assert found.keep.tolist() == [True] * 3 and not found.is_fallback

    def test_the_threshold_is_strict(self) -> None:
        loose = head(concept_threshold=0.42).pseudo_label(REGIONS)
        assert loose.keep.tolist() == [True, False, True]
        assert loose.labels.tolist() == [0, 2] and loose.probs.shape == (2, 3)
        assert not loose.is_fallback
        # the second region equalling the threshold exactly is not enough
        exact = float(head().pseudo_label(REGIONS).probs[1, 1])
        found = head(concept_threshold=exact).pseudo_label(REGIONS)
        assert found.keep.tolist() == [True, False, True]

    def test_all_are_kept_if_none_passes(self) -> None:
        found = head(concept_threshold=0.6).pseudo_label(REGIONS)
        assert found.is_fallback and found.keep.all()
        assert found.labels.tolist() == [0, 1, 2]

    def test_temperature(self) -> None:
        found = head(teacher_temperature=0.01).pseudo_label(REGIONS)
        assert (found.probs.amax(1) > 0.999).all()
        assert RegionTextHead(axes()).teacher_temperature == 0.01

    def test_no_gradient_and_no_region(self) -> None:
        found = head().pseudo_label(REGIONS.clone().requires_grad_())
        assert not found.probs.requires_grad
        empty = head().pseudo_label(torch.zeros(0, 3))
        assert empty.is_fallback and empty.probs.shape == (0, 3)

    def test_the_teacher_may_have_its_own_pool(self) -> None:
        turned = TextEmbeddings(NAMES, torch.eye(3)[[1, 2, 0]])
        found = head(teacher_concept_pool=turned).pseudo_label(REGIONS)
        assert found.labels.tolist() == [2, 0, 1]
        wide = TextEmbeddings(NAMES, torch.eye(3, 5))  # another width than the student's
        labels = head(teacher_concept_pool=wide).pseudo_label(F.pad(REGIONS, (0, 2))).labels
        assert labels.tolist() == [0, 1, 2]

    def test_pools_must_name_the_same_concepts_in_the_same_order(self) -> None:
        message = "position 0: 'b' .*student's concept pool.*another order"
        with pytest.raises(ValueError, match=message):
            head(teacher_concept_pool=axes(('b', 'a', 'c')))
        with pytest.raises(ValueError, match='names themselves differ'):
            head(teacher_concept_pool=axes(('a', 'b', 'd')))

    def test_pools_come_from_files_and_stay_out_of_checkpoints(self, tmp_path: Path) -> None:
        axes().save(tmp_path / 'pool.pth')
        found = head(concept_pool=tmp_path / 'pool.pth')
        assert found.concept_names == NAMES
        assert torch.equal(found.concepts, 3 * torch.eye(3))
        assert not found.state_dict()


class TestLoss:
    STUDENT = torch.tensor([[0.9, 0.1, -0.3], [0.2, -0.5, 0.6], [0.4, 0.3, 0.8]])

    def test_kept_regions_are_learned_from(self) -> None:
        student = self.STUDENT.clone().requires_grad_()
        losses = head(concept_threshold=0.42).loss(student, REGIONS)
        assert set(losses) == {'loss_region_distill', 'loss_region_contrast', *WATCHED}
        kept = self.STUDENT[[0, 2]]
        probs = torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.3, 0.45]])
        torch.testing.assert_close(
            losses['loss_region_distill'], RegionDistillationLoss()(kept, torch.eye(3), probs)
        )
        torch.testing.assert_close(
            losses['loss_region_contrast'],
            RegionTextContrastiveLoss()(kept, torch.eye(3), torch.tensor([0, 2])),
        )
        assert float(losses['regions_kept']) == pytest.approx(2 / 3)
        (losses['loss_region_distill'] + losses['loss_region_contrast']).backward()
        assert student.grad[[0, 2]].abs().sum(1).min() > 0
        assert student.grad[1].abs().sum() == 0

    def test_the_student_uses_its_own_pool(self) -> None:
        turned = TextEmbeddings(NAMES, torch.eye(3)[[1, 2, 0]])
        losses = head(teacher_concept_pool=turned).loss(self.STUDENT, REGIONS)
        expected = RegionTextContrastiveLoss()(self.STUDENT, torch.eye(3), torch.tensor([2, 0, 1]))
        torch.testing.assert_close(losses['loss_region_contrast'], expected)

    def test_agreement_with_the_teacher(self) -> None:
        # the student's best concepts are a, c, c; the teacher's a, b, c
        losses = head().loss(self.STUDENT, REGIONS)
        assert float(losses['teacher_agreement']) == pytest.approx(2 / 3)
        assert float(losses['teacher_score']) == pytest.approx((0.5 + 0.4 + 0.45) / 3)
        # of the kept ones only: the second, on which they differ, is not
        losses = head(concept_threshold=0.42).loss(self.STUDENT, REGIONS)
        assert float(losses['teacher_agreement']) == 1
        assert float(losses['teacher_score']) == pytest.approx((0.5 + 0.45) / 2)
        # with its own pool: concepts are the axes 1, 2, 0, so its best are c, b, b and a, b, c
        turned = TextEmbeddings(NAMES, torch.eye(3)[[1, 2, 0]])
        losses = head(concept_pool=turned, teacher_concept_pool=axes()).loss(self.STUDENT, REGIONS)
        assert float(losses['teacher_agreement']) == pytest.approx(1 / 3)
        assert not any(losses[key].requires_grad for key in WATCHED)

    def test_fallback_is_seen_in_the_log(self) -> None:
        losses = head(concept_threshold=0.6).loss(self.STUDENT, REGIONS)
        assert float(losses['regions_kept']) == 0
        assert float(losses['teacher_agreement']) == pytest.approx(2 / 3)
        assert float(losses['loss_region_distill']) > 0

    def test_no_region(self) -> None:
        student = self.STUDENT.clone().requires_grad_()
        losses = head().loss(student[:0], REGIONS[:0])
        total = losses['loss_region_distill'] + losses['loss_region_contrast']
        total.backward()
        assert float(total.detach()) == 0
        assert [float(losses[key]) for key in WATCHED] == [0, 0, 0]

    def test_losses_can_be_left_out(self) -> None:
        assert set(head(loss_distill=None).loss(self.STUDENT, REGIONS)) == {
            'loss_region_contrast',
            *WATCHED,
        }
        assert set(head(loss_contrast=None).loss(self.STUDENT, REGIONS)) == {
            'loss_region_distill',
            *WATCHED,
        }
