# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RegionCLIP pretraining: a student learns regions from a frozen teacher and captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from ...checkpoints.parts import (
    BOX_HEAD,
    IMAGE_TEXT_LOSS,
    IMAGE_TOWER,
    LOCALIZER,
    MASK_HEAD,
    TEACHER,
    TEACHER_BACKBONE,
    TEACHER_ENCODER,
    TEXT_ENCODER,
)
from ..localizers import get_proposals
from ..post_processing import add_label_names
from ..precision import CastsCarefully
from ..region_encoders import with_arch_of
from ..text import TextEmbeddingClassifier
from ..weights import WeightGuard
from .image_text_clip import caption_of
from .teachers import FrozenRegionTeacher, Lesson, StoredTeacher, Teacher, maps_after

PARTS = (*IMAGE_TOWER, TEACHER_BACKBONE, TEACHER_ENCODER, TEXT_ENCODER, LOCALIZER)
FROZEN_PARTS = (TEACHER, TEXT_ENCODER, LOCALIZER)
# A detector may be pretrained further; its heads are not used. Nor is what another loss learned.
UNUSED_KEYS = (f'{BOX_HEAD}.', f'{MASK_HEAD}.', f'{IMAGE_TEXT_LOSS}.')


@MODELS.register_module()
class RegionCLIP(WeightGuard, CastsCarefully, BaseDetector):
    """Region-text pretraining (RegionCLIP, section 3.3, figure 2).

    Proposals of an image are matched with concepts by the teacher; the student learns from those
    pairs, from the teacher's distribution, and from image-caption pairs. Needs the image's caption
    as ``data_sample.text``.

    Args:
        backbone: The student's ``CLIPResNet``.
        roi_head: Config of a ``RegionTextRoIHead``.
        teacher: The teacher's ``backbone`` and ``region_encoder``. Without a ``region_text_head``
            it would teach nothing, and is not built.
        stored_teacher: Samples carry the teacher's embeddings of their proposals
            (``data_sample.proposals.teacher_embeddings``), and no teacher is run.
        text_encoder: Config of a ``CLIPTextEncoder``; None without the image-text loss.
        localizer: Config of an ``RPNLocalizer``, if samples carry no proposals.
        num_regions: At most so many proposals per image are learned from, drawn uniformly.
        save_frozen: Whether checkpoints hold teacher, text encoder and localizer too.
        may_be_missing: Parts a checkpoint need not hold; see ``WeightGuard``.
        may_be_unexpected: Key prefixes of a checkpoint to be ignored.
        data_preprocessor: ``DetDataPreprocessor`` with CLIP's mean and std, RGB.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        roi_head: dict,
        teacher: dict | None = None,
        text_encoder: dict | None = None,
        localizer: dict | None = None,
        num_regions: int = 100,
        save_frozen: bool = False,
        may_be_missing: Sequence[str] = (),
        may_be_unexpected: Sequence[str] = UNUSED_KEYS,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        stored_teacher: bool = False,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        encoder = with_arch_of(backbone, roi_head['region_encoder'])
        self.roi_head = MODELS.build({**roi_head, 'region_encoder': encoder})
        if stored_teacher and teacher:
            raise ValueError('stored_teacher=True runs no teacher: set teacher=None.')
        head = self.roi_head.region_text_head
        if head is not None and not (teacher or stored_teacher):
            raise ValueError(
                'A region_text_head needs a teacher; give teacher=dict(...), or '
                'stored_teacher=True if the samples carry its embeddings.'
            )
        self.teacher = FrozenRegionTeacher(**teacher) if teacher and head is not None else None
        self.stored_teacher = StoredTeacher(head) if stored_teacher and head is not None else None
        if self.teacher is not None:
            head.check_width('teacher', self.teacher.region_encoder)
        self.text_encoder = MODELS.build(text_encoder) if text_encoder else None
        self.localizer = MODELS.build(localizer) if localizer else None
        self.num_regions = num_regions
        if self.roi_head.loss_image_text is not None and self.text_encoder is None:
            raise ValueError('loss_image_text needs a text_encoder; give text_encoder=dict(...).')
        if self.localizer is not None:
            self.localizer.check_inputs(self.data_preprocessor)
        loss = self.roi_head.loss_image_text
        learned = (IMAGE_TEXT_LOSS,) if loss is not None and list(loss.parameters()) else ()
        self.set_parts(
            (*PARTS, *learned),
            may_be_missing,
            may_be_unexpected,
            unsaved=() if save_frozen else FROZEN_PARTS,
        )

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """The student's ``(C4 map,)`` of ``(B, 3, H, W)``."""
        return self.backbone(batch_inputs)

    def sample_regions(
        self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]
    ) -> Tensor:
        """RoIs ``(R, 5)``: up to ``num_regions`` proposals per image, a uniformly random subset."""
        drawn = self.draw_proposals(batch_inputs, batch_data_samples)
        return bbox2roi([proposals.bboxes for proposals in drawn])

    def draw_proposals(
        self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]
    ) -> list[InstanceData]:
        """The same with whatever is known of them; ``bboxes`` ``(N, 4)`` are float32."""
        drawn = []
        for proposals in get_proposals(self.localizer, batch_inputs, batch_data_samples):
            order = torch.randperm(len(proposals))[: self.num_regions]
            chosen = proposals[order.to(proposals.bboxes.device)]
            chosen.bboxes = chosen.bboxes.float()
            drawn.append(chosen)
        return drawn

    def _lesson(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> Lesson:
        """Regions of a batch and the teacher's embeddings of them; none without a teacher."""
        teacher: Teacher | None = self.teacher or self.stored_teacher
        if teacher is None:
            # float32, whatever the inputs' type: coordinates are not to be rounded
            return Lesson(torch.zeros(0, 5, device=batch_inputs.device), None, batch_inputs)
        regions = self.draw_proposals(batch_inputs, batch_data_samples)
        return teacher.lesson(self.backbone, batch_inputs, regions, batch_data_samples)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> dict:
        """Losses of a batch of captioned images; inputs ``(B, 3, H, W)``."""
        self.ensure_weights(learning=self.training)
        lesson = self._lesson(batch_inputs, batch_data_samples)
        text_embeddings = None
        if self.text_encoder is not None:
            text_embeddings = self.text_encoder([caption_of(s) for s in batch_data_samples])
        return self.roi_head.loss(
            maps_after(self.backbone, lesson.maps, lesson.steps),
            lesson.rois,
            lesson.embeddings,
            text_embeddings,
            [sample.metainfo for sample in batch_data_samples],
            batch_inputs.shape[-2:],
        )

    @torch.no_grad()
    def predict(
        self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]
    ) -> list[DetDataSample]:
        """The teacher's pseudo labels, to be looked at.

        Returns:
            The samples with ``pred_instances`` of the kept regions: ``bboxes (R', 4)`` in network
            input pixels, ``labels`` (indices into ``roi_head.region_text_head.concept_names``),
            ``label_names`` (these names) and ``scores`` (the teacher's probabilities).
        """
        head = self.roi_head.region_text_head
        if head is None:
            raise RuntimeError('Without a region_text_head there are no pseudo labels to predict.')
        self.ensure_weights()
        for i, sample in enumerate(batch_data_samples):
            lesson = self._lesson(batch_inputs[i : i + 1], [sample])
            target = head.pseudo_label(lesson.embeddings)
            found = InstanceData(
                bboxes=lesson.rois[target.keep, 1:],
                labels=target.labels,
                scores=target.probs.amax(-1),
            )
            sample.pred_instances = add_label_names(found, head.concept_names)
        return list(batch_data_samples)

    @torch.no_grad()
    def classify_regions(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        classifier: TextEmbeddingClassifier,
    ) -> list[DetDataSample]:
        """The student's classification of given boxes, zero-shot, as a detector with its weights.

        Args:
            batch_inputs: ``(B, 3, H, W)``.
            batch_data_samples: With ``proposals``, all of which are named, in their order.
            classifier: ``K`` names, with or without background.

        Returns:
            The samples with ``pred_instances`` of every pair of region and name: ``bboxes``,
            ``scores`` (probabilities), ``labels`` (indices of names), ``label_names`` and
            ``region_inds``.
        """
        self.ensure_weights()
        regions = [p.bboxes.float() for p in get_proposals(None, batch_inputs, batch_data_samples)]
        embeddings = self.roi_head.region_encoder(
            self.extract_feat(batch_inputs), bbox2roi(regions)
        )
        probs = classifier.probabilities(embeddings)[:, : classifier.num_classes]
        scores = probs.split([len(boxes) for boxes in regions])
        for sample, boxes, own in zip(batch_data_samples, regions, scores, strict=True):
            region, name = torch.ones_like(own).nonzero(as_tuple=True)
            found = InstanceData(
                bboxes=boxes[region], scores=own.flatten(), labels=name, region_inds=region
            )
            sample.pred_instances = add_label_names(found, classifier.names)
        return list(batch_data_samples)

    name_regions = classify_regions  # the old name, until 0.3

    def _forward(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> Tensor:
        """Student embeddings ``(R, D)`` of the samples' regions."""
        self.ensure_weights()
        rois = self.sample_regions(batch_inputs, batch_data_samples)
        return self.roi_head.region_encoder(self.extract_feat(batch_inputs), rois)
