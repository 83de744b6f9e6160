# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What student and teacher compute alike is computed once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..backbones import CLIPResNet


class SharedFrozenSteps:
    """Counts the first steps of a student's backbone that are frozen and equal its teacher's.

    Both start from CLIP, and the student's stem and first stages usually stay frozen, so their
    maps are the same. Nothing is taken on trust: weights and norm statistics are compared, and
    compared again whenever one of them was written to. Other towers than ``CLIPResNet`` have no
    steps to be run one by one, and share none.
    """

    def __init__(self) -> None:
        self._compared: tuple | None = None
        self._count = 0

    def count(self, student: nn.Module, teacher: nn.Module) -> int:
        """Number of steps (see ``CLIPResNet.run_steps``) that need to be run only once.

        0 unless both are ``CLIPResNet`` of one architecture.

        Args:
            student: Backbone that learns.
            teacher: Frozen backbone.
        """
        if not (_has_steps(student) and _has_steps(teacher)) or student.arch != teacher.arch:
            return 0
        limit = min(student.frozen_stages, min(student.out_indices), min(teacher.out_indices)) + 1
        state = tuple(
            (value.data_ptr(), value._version)
            for backbone in (student, teacher)
            for step in range(limit)
            for value in _tensors(backbone, step)
        )
        if state != self._compared:
            self._count = 0
            while self._count < limit and _equal(student, teacher, self._count):
                self._count += 1
            self._compared = state
        return self._count


def _has_steps(backbone: nn.Module) -> bool:
    """Whether it can be run step by step, and no subclass does more than the steps."""
    return isinstance(backbone, CLIPResNet) and type(backbone).forward is CLIPResNet.forward


def _tensors(backbone: CLIPResNet, step: int) -> Iterator[Tensor]:
    for module in backbone.step_modules(step):
        yield from module.parameters()
        yield from module.buffers()


def _equal(student: CLIPResNet, teacher: CLIPResNet, step: int) -> bool:
    pairs = zip(_tensors(student, step), _tensors(teacher, step), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
