# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pseudo labels from the teacher and what the student learns from them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...known_files import require_file
from ..precision import StaysFloat32
from ..recognition import cosine_logits, region_probabilities
from ..text import TextEmbeddings


@dataclass
class PseudoLabels:
    """The teacher's opinion of a batch of regions.

    Attributes:
        keep: Which of the ``R`` regions are learned from, bool ``(R,)``.
        labels: Concept of each kept region ``(R',)``.
        probs: Teacher's distribution over concepts ``(R', K)``.
        is_fallback: Whether no region passed the threshold, so that all were kept.
    """

    keep: Tensor
    labels: Tensor
    probs: Tensor
    is_fallback: bool


@MODELS.register_module()
class RegionTextHead(StaysFloat32, BaseModule):
    """Region-text part of RegionCLIP's pretraining (section 3.3, equations 1 to 3).

    The teacher matches its region embeddings with its concept pool; regions whose best concept is
    probable enough are kept. The student learns the concept by contrast and the whole distribution
    by distillation.

    Args:
        concept_pool: The student's concepts: ``TextEmbeddings`` or a file of them. Files that are
            not there are missed only when the head is used.
        teacher_concept_pool: The teacher's embeddings of the same concepts in the same order;
            needed when the teacher's embedding space differs. By default the student's pool.
        concept_threshold: A region is kept if its largest probability is larger.
        teacher_temperature: Divides the teacher's cosines.
        loss_contrast: Config of the contrastive loss, None to leave it out.
        loss_distill: Config of the distillation loss, None to leave it out.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        concept_pool: str | os.PathLike | TextEmbeddings,
        teacher_concept_pool: str | os.PathLike | TextEmbeddings | None = None,
        concept_threshold: float = 0.1,
        teacher_temperature: float = 0.01,
        loss_contrast: dict | None = dict(type='RegionTextContrastiveLoss'),  # noqa: B006
        loss_distill: dict | None = dict(type='RegionDistillationLoss'),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        pools = (concept_pool, teacher_concept_pool or concept_pool)
        self._sources = dict(zip(('student', 'teacher'), map(_origin, pools)))
        self.missing_files = [os.fspath(pool) for pool in dict.fromkeys(pools) if _is_missing(pool)]
        self.concept_names: tuple[str, ...] = ()
        # inputs, not results of training: they stay out of checkpoints
        self.register_buffer('concepts', torch.zeros(0, 0), persistent=False)
        self.register_buffer('teacher_concepts', torch.zeros(0, 0), persistent=False)
        if not self.missing_files:
            self._set_concepts(*pools)
        self.concept_threshold = concept_threshold
        self.teacher_temperature = teacher_temperature
        self.loss_contrast = MODELS.build(loss_contrast) if loss_contrast else None
        self.loss_distill = MODELS.build(loss_distill) if loss_distill else None

    def _set_concepts(
        self,
        concept_pool: str | os.PathLike | TextEmbeddings,
        teacher_concept_pool: str | os.PathLike | TextEmbeddings,
    ) -> None:
        pool = _as_embeddings(concept_pool)
        teacher_pool = _as_embeddings(teacher_concept_pool)
        teacher_pool.check_names(pool.names, "the student's concept pool")
        self.concept_names = pool.names
        self.concepts = pool.matrix.float()
        self.teacher_concepts = teacher_pool.matrix.float()

    def require_concepts(self) -> None:
        """Refuse to go on without concepts.

        Raises:
            FileNotFoundError: A file of concepts is missing; says how to make it.
        """
        for path in self.missing_files:
            require_file(path, 'concept pool')
        if self.missing_files:
            raise RuntimeError(
                f'{", ".join(self.missing_files)} did not exist when the model was built: build '
                'it again.'
            )

    def check_width(self, whose: str, encoder: nn.Module) -> None:
        """Refuse concepts of another embedding space's size.

        Args:
            whose: Pool, ``'student'`` or ``'teacher'``.
            encoder: The region encoder that is compared with it.

        Raises:
            ValueError: ``D`` is not the encoder's ``embed_dim``.
        """
        concepts = self.concepts if whose == 'student' else self.teacher_concepts
        if self.missing_files:
            return
        if concepts.shape[1] != encoder.embed_dim:
            raise ValueError(
                f'The {whose} makes embeddings of width {encoder.embed_dim}, but its concept pool '
                f'{self._sources[whose]}has width {concepts.shape[1]}: embed the concepts with the '
                'text encoder of the same CLIP model (concept_pool, teacher_concept_pool).'
            )

    @torch.no_grad()
    def pseudo_label(self, teacher_embeddings: Tensor) -> PseudoLabels:
        """Label regions with the teacher.

        If no region passes the threshold, all are kept, as in the official code.

        Args:
            teacher_embeddings: ``(R, D_teacher)``, any norm.
        """
        self.require_concepts()
        probs = region_probabilities(
            teacher_embeddings, self.teacher_concepts, self.teacher_temperature, background=False
        )
        best, labels = probs.max(-1)
        keep = best > self.concept_threshold
        is_fallback = not bool(keep.any())
        if is_fallback:
            keep = torch.ones_like(keep)
        return PseudoLabels(keep, labels[keep], probs[keep], is_fallback)

    def loss(self, embeddings: Tensor, teacher_embeddings: Tensor) -> dict[str, Tensor]:
        """Region-text losses of a batch.

        Args:
            embeddings: Student's regions ``(R, D)``.
            teacher_embeddings: Teacher's embeddings of the same regions ``(R, D_teacher)``.

        Returns:
            ``loss_region_distill``, ``loss_region_contrast`` and, for the log, means over this
            process's regions: ``regions_kept`` (share; 0 if none passed the threshold) and, of the
            kept ones, ``teacher_score`` (the probability of the label) and ``teacher_agreement``
            (the share whose best concept is the same for the student). 0 without regions.
        """
        target = self.pseudo_label(teacher_embeddings)
        kept = embeddings[target.keep]
        losses = {}
        if self.loss_distill is not None:
            losses['loss_region_distill'] = self.loss_distill(kept, self.concepts, target.probs)
        if self.loss_contrast is not None:
            losses['loss_region_contrast'] = self.loss_contrast(kept, self.concepts, target.labels)
        share = 0.0 if target.is_fallback else target.keep.float().mean().nan_to_num()
        losses['regions_kept'] = torch.as_tensor(share, device=embeddings.device)
        agrees = self.best_concepts(kept) == target.labels
        losses['teacher_agreement'] = agrees.float().mean().nan_to_num()
        losses['teacher_score'] = target.probs.amax(-1).mean().nan_to_num()
        return losses

    @torch.no_grad()
    def best_concepts(self, embeddings: Tensor) -> Tensor:
        """The concept nearest to each of the student's regions.

        Args:
            embeddings: ``(R, D)``, any norm.

        Returns:
            Indices into ``concept_names``, ``(R,)``.
        """
        return cosine_logits(embeddings, self.concepts, 1.0).argmax(-1)


def _origin(source: str | os.PathLike | TextEmbeddings) -> str:
    """Where a pool comes from, for messages."""
    if not isinstance(source, TextEmbeddings):
        return f'in {source} '
    model = source.provenance.get('model')
    return f'(made by {model}) ' if model else ''


def _is_missing(source: str | os.PathLike | TextEmbeddings) -> bool:
    return not isinstance(source, TextEmbeddings) and not os.path.exists(source)


def _as_embeddings(source: str | os.PathLike | TextEmbeddings) -> TextEmbeddings:
    return source if isinstance(source, TextEmbeddings) else TextEmbeddings.load(source)
