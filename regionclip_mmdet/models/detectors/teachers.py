# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where a teacher's embeddings of regions come from: a frozen network, or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..backbones import CLIPResNet
from ..region_encoders import with_arch_of
from ..roi_heads import RegionTextHead


@dataclass
class Lesson:
    """Regions of a batch and what a teacher says of them.

    Attributes:
        rois: ``(R, 5)`` in the batch's pixels.
        embeddings: The teacher's, ``(R, D_teacher)``; None without a teacher.
        maps: The batch ``(B, 3, H, W)``, or what the student's first steps made of it.
        steps: Steps of the backbone that are done; see ``CLIPResNet.run_steps``.
    """

    rois: Tensor
    embeddings: Tensor | None
    maps: Tensor
    steps: int = 0


class Teacher(Protocol):
    """A source of lessons."""

    def lesson(
        self,
        student: nn.Module,
        batch_inputs: Tensor,
        regions: Sequence[InstanceData],
        batch_data_samples: Sequence[DetDataSample],
    ) -> Lesson:
        """Regions and targets of a batch.

        Args:
            student: The student's backbone.
            batch_inputs: ``(B, 3, H, W)``.
            regions: Per image ``bboxes (N, 4)`` in the batch's pixels.
            batch_data_samples: ``B`` samples.
        """


def maps_after(backbone: nn.Module, x: Tensor, first_step: int) -> tuple[Tensor, ...]:
    """Maps of a batch, or of what a backbone's first steps made of it.

    Only a ``CLIPResNet`` is told to begin later: other towers know nothing of steps.
    """
    return backbone(x, first_step) if first_step else backbone(x)


class FrozenRegionTeacher(BaseModule):
    """CLIP's image side, frozen: the same boxes, its own weights and sizes.

    Args:
        backbone: Config of a ``CLIPResNet``.
        region_encoder: Config of a ``RegionEncoder``; its ``arch`` follows from the backbone.
        scale: The teacher sees the batch enlarged by this factor. CLIP recognizes objects best at
            the size it knows them from; where a scene's objects are smaller, a larger view makes a
            better teacher, and the student learns to do with its own. 1 in the paper.
    """

    def __init__(self, backbone: dict, region_encoder: dict, scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"The teacher's scale must be positive, not {scale}.")
        self.scale = scale
        self.backbone = MODELS.build(backbone)
        self.region_encoder = MODELS.build(with_arch_of(backbone, region_encoder))
        self._shared_steps = SharedFrozenSteps()
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenRegionTeacher:
        """Stay in eval mode in any case."""
        return super().train(False)

    def lesson(
        self,
        student: nn.Module,
        batch_inputs: Tensor,
        regions: Sequence[InstanceData],
        batch_data_samples: Sequence[DetDataSample],
    ) -> Lesson:
        """See ``Teacher``; steps that both backbones share are computed once."""
        rois = bbox2roi([part.bboxes for part in regions])
        steps = self._shared_steps.count(student, self.backbone) if self.scale == 1 else 0
        maps = batch_inputs
        if steps:
            with torch.no_grad():
                maps = student.run_steps(batch_inputs, 0, steps)
        return Lesson(rois, self(maps, rois, steps), maps, steps)

    # no_grad, not inference_mode: the losses save these tensors for their backward
    @torch.no_grad()
    def forward(self, batch_inputs: Tensor, rois: Tensor, first_step: int = 0) -> Tensor:
        """Embeddings ``(R, D)`` of RoIs ``(R, 5)`` in a batch ``(B, 3, H, W)``.

        Args:
            batch_inputs: The batch, or the output of the backbone's first steps.
            rois: Boxes in the batch's pixels.
            first_step: Steps of the backbone already run; see ``CLIPResNet.run_steps``.
        """
        if self.scale != 1:
            size = [round(side * self.scale) for side in batch_inputs.shape[-2:]]
            ratios = [new / old for new, old in zip(size, batch_inputs.shape[-2:], strict=True)]
            batch_inputs = F.interpolate(batch_inputs, size, mode='bilinear', align_corners=False)
            rois = rois * rois.new_tensor([1, ratios[1], ratios[0], ratios[1], ratios[0]])
        return self.region_encoder(maps_after(self.backbone, batch_inputs, first_step), rois)


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


class StoredTeacher:
    """A teacher's embeddings that come with the proposals: ``teacher_embeddings (N, D)``, float32.

    Args:
        head: The one whose concept pool the embeddings are compared with.
    """

    def __init__(self, head: RegionTextHead) -> None:
        self.head = head

    def lesson(
        self,
        student: nn.Module,
        batch_inputs: Tensor,
        regions: Sequence[InstanceData],
        batch_data_samples: Sequence[DetDataSample],
    ) -> Lesson:
        """See ``Teacher``.

        Raises:
            ValueError: A sample carries no embeddings, or embeddings of another size.
        """
        self.head.require_concepts()
        width = self.head.teacher_concepts.shape[1]
        for part, sample in zip(regions, batch_data_samples, strict=True):
            name = sample.metainfo.get('img_path', 'a sample')
            if 'teacher_embeddings' not in part:
                raise ValueError(
                    f'stored_teacher=True, but the proposals of {name} carry no '
                    'teacher_embeddings. Make them with tools/pretrain/precompute_proposals.py '
                    'CONFIG --teacher, set teacher_embeddings=True of the dataset, and end its '
                    'pipeline with PackRegionInputs; or give the model a teacher.'
                )
            found = part.teacher_embeddings
            if found.ndim != 2 or found.shape[1] != width:
                raise ValueError(
                    f'The teacher_embeddings of {name} have shape {tuple(found.shape)}, but the '
                    f"teacher's concept pool has width {width}: embed the concepts with the text "
                    'encoder of the teacher that made them (teacher_concept_pool).'
                )
        embeddings = torch.cat([part.teacher_embeddings.float() for part in regions])
        return Lesson(bbox2roi([part.bboxes for part in regions]), embeddings, batch_inputs)
