# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer and teacher, which compute what a pretraining run would compute of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..checkpoints.parts import LOCALIZER, TEACHER_BACKBONE, TEACHER_ENCODER
from ..models.detectors.regionclip import FrozenRegionTeacher
from ..models.precision import CastsCarefully
from ..models.weights import WeightGuard
from ..resumable_job import as_json, weights_hash, without_keys

PRECISIONS = ('float32', 'bfloat16')


class Made(NamedTuple):
    """Of one image: boxes ``(N, 4)`` as fractions of it, logits ``(N,)``, embeddings ``(N, D)``.

    Embeddings have length 1, in the type that is stored; None without a teacher.
    """

    boxes: np.ndarray
    objectness: np.ndarray
    embeddings: np.ndarray | None


class ProposalMaker(WeightGuard, CastsCarefully, BaseModel):
    """A config's localizer and, if wanted, its teacher, on images of equal size.

    One of mmengine's models, so that its data preprocessor brings images to the device it is on.

    Args:
        localizer: Config of an ``RPNLocalizer``.
        data_preprocessor: Config of the model's, which normalizes the images.
        teacher: ``backbone``, ``region_encoder`` and ``scale`` of the model's teacher.
        num: Keep the best so many proposals of an image; None: the localizer's ``max_per_img``.
        precision: ``'float32'``, or ``'bfloat16'`` for the convolutions (autocast). Selection and
            NMS are float32 either way.
        teacher_dtype: ``'float16'`` or ``'float32'``, of the embeddings.
    """

    data_preprocessor: nn.Module

    def __init__(
        self,
        localizer: Mapping[str, Any],
        data_preprocessor: Mapping[str, Any],
        teacher: Mapping[str, Any] | None = None,
        num: int | None = None,
        precision: str = 'float32',
        teacher_dtype: str = 'float16',
    ) -> None:
        super().__init__(data_preprocessor=MODELS.build(data_preprocessor))
        if precision not in PRECISIONS:
            raise ValueError(f'precision must be one of {PRECISIONS}, not {precision!r}.')
        self.localizer = MODELS.build(localizer)
        self.localizer.check_inputs(self.data_preprocessor)
        self.localizer.follow_autocast = precision != 'float32'
        self.teacher = FrozenRegionTeacher(**teacher) if teacher else None
        limit = self.localizer.test_cfg.max_per_img
        self.num = num or (limit if limit > 0 else None)
        self.precision = precision
        self.teacher_dtype = np.dtype(teacher_dtype)
        self._configs = dict(
            localizer=localizer, data_preprocessor=data_preprocessor, teacher=teacher
        )
        self.set_parts((LOCALIZER, TEACHER_BACKBONE, TEACHER_ENCODER))
        self.eval()

    @property
    def width(self) -> int:
        """Dimension ``D`` of the teacher's embeddings; 0 without a teacher."""
        return 0 if self.teacher is None else self.teacher.region_encoder.embed_dim

    def nothing(self) -> Made:
        """No proposals."""
        embeddings = None
        if self.teacher is not None:
            embeddings = np.zeros((0, self.width), self.teacher_dtype)
        return Made(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), embeddings)

    def fingerprint(self, pipeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the proposals depend on.

        Args:
            pipeline: transforms that load and resize the images.
        """
        return as_json(
            dict(
                localizer=without_keys(self._configs['localizer']),
                weights_sha256=weights_hash(self.localizer),
                data_preprocessor=self._configs['data_preprocessor'],
                pipeline=list(pipeline),
                num=self.num,
                precision=self.precision,
            )
        )

    def teacher_fingerprint(self, pipeline: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What the embeddings depend on besides the boxes; None without a teacher."""
        if self.teacher is None:
            return None
        return as_json(
            dict(
                teacher=without_keys(self._configs['teacher']),
                weights_sha256=weights_hash(self.teacher),
                data_preprocessor=self._configs['data_preprocessor'],
                pipeline=list(pipeline),
                dtype=self.teacher_dtype.name,
                precision=self.precision,
            )
        )

    @torch.no_grad()
    def make(
        self, packed: Sequence[Mapping[str, Any]], stored: Sequence[np.ndarray] | None = None
    ) -> list[Made]:
        """Proposals of images and the teacher's embeddings of them.

        Images are computed in one batch, so they must be of one size: padding would change the
        features at their border.

        Args:
            packed: Samples of ``PackDetInputs``: ``inputs`` uint8 ``(3, H, W)``, ``data_samples``.
            stored: Boxes ``(N, 4)`` as fractions; then the localizer is not run, and the logits
                are empty.
        """
        shapes = {tuple(sample['inputs'].shape) for sample in packed}
        if len(shapes) != 1:
            raise ValueError(f'Images of one batch must have one size, not {sorted(shapes)}.')
        data = dict(
            inputs=[sample['inputs'] for sample in packed],
            data_samples=[sample['data_samples'] for sample in packed],
        )
        return self(**self.data_preprocessor(data, training=False), stored=stored)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[DetDataSample],
        mode: str = 'predict',
        stored: Sequence[np.ndarray] | None = None,
    ) -> list[Made]:
        """``make`` of a batch that the data preprocessor has made.

        Args:
            inputs: ``(B, 3, H, W)``, normalized.
            data_samples: One per image.
            mode: Always ``'predict'``.
            stored: see ``make``.
        """
        metas = [sample.metainfo for sample in data_samples]
        height, width = metas[0]['img_shape'][:2]
        size = inputs.new_tensor([width, height, width, height])
        logits: list[Tensor] = [inputs.new_zeros(0)] * len(metas)
        with self._autocast(inputs):
            if stored is None:
                found = [p[: self.num] for p in self.localizer(inputs, metas)]
                boxes = [proposals.bboxes.float() / size for proposals in found]
                logits = [proposals.objectness_logits.float() for proposals in found]
            else:
                boxes = [torch.as_tensor(part).to(size) for part in stored]
            embeddings: Sequence[Tensor | None] = [None] * len(metas)
            if self.teacher is not None:
                # from the fractions, as they will be read, so that both ways give the same
                rois = bbox2roi([part * size for part in boxes])
                embeddings = self.teacher(inputs, rois).split([len(part) for part in boxes])
        return [
            Made(part.cpu().numpy(), logit.cpu().numpy(), self._stored_form(embedding))
            for part, logit, embedding in zip(boxes, logits, embeddings, strict=True)
        ]

    def _autocast(self, inputs: Tensor) -> AbstractContextManager:
        if self.precision == 'float32':
            return nullcontext()
        return torch.autocast(inputs.device.type, dtype=torch.bfloat16)

    def _stored_form(self, embeddings: Tensor | None) -> np.ndarray | None:
        if embeddings is None:
            return None
        # only directions matter, and float16 has a narrow range
        return F.normalize(embeddings.float(), dim=-1).cpu().numpy().astype(self.teacher_dtype)
