# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Frozen steps of student and teacher run once, and only where they are the same."""

from __future__ import annotations

import copy

import pytest
import torch

from helpers import tiny_models
from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.detectors.teachers import SharedFrozenSteps


def backbones(frozen_stages: int = 1, **settings: object) -> tuple[CLIPResNet, CLIPResNet]:
    student = tiny_models.fill(CLIPResNet(tiny_models.ARCH, frozen_stages=frozen_stages))
    teacher = CLIPResNet(tiny_models.ARCH, frozen_stages=3, **settings)
    teacher.load_state_dict(student.state_dict())
    return student, teacher


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2])
def test_counts_stem_and_frozen_stages(frozen_stages: int) -> None:
    assert SharedFrozenSteps().count(*backbones(frozen_stages)) == frozen_stages + 1


def test_other_weights_or_statistics_end_the_sharing_and_writing_is_noticed() -> None:
    student, teacher = backbones()
    shared = SharedFrozenSteps()
    assert shared.count(student, teacher) == 2
    with torch.no_grad():
        teacher.layer1[0].bn2.running_var += 1e-3
    assert shared.count(student, teacher) == 1
    with torch.no_grad():
        student.conv2.weight += 1e-3
    assert shared.count(student, teacher) == 0
    teacher.load_state_dict(student.state_dict())
    assert shared.count(student, teacher) == 2


def test_other_architecture_or_earlier_outputs() -> None:
    student, teacher = backbones()
    other = CLIPResNet({**tiny_models.ARCH, 'layers': (2, 1, 1, 1)})
    assert SharedFrozenSteps().count(student, other) == 0
    student, teacher = backbones(out_indices=(0, 2))
    assert SharedFrozenSteps().count(student, teacher) == 1


def test_continuing_after_shared_steps_changes_nothing() -> None:
    student, _ = backbones()
    x = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    whole, resumed = copy.deepcopy(student), copy.deepcopy(student)
    expected, (actual,) = whole(x)[0], resumed(resumed.run_steps(x, 0, 2), first_step=2)
    assert torch.equal(actual, expected)
    for out in (expected, actual):
        out.square().sum().backward()
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)
    with pytest.raises(ValueError, match='before step 3'):
        CLIPResNet(tiny_models.ARCH, out_indices=(0, 2))(x, first_step=3)
