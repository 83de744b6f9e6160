# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""RoI head of pretraining: regions against concepts, whole images against captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.model import BaseModule
from torch import Tensor

GLOBAL_BOXES = ('image', 'padded')


@MODELS.register_module()
class RegionTextRoIHead(BaseModule):
    """The student's side of RegionCLIP pretraining.

    Has the detector's layout (``roi_head.region_encoder``), so its checkpoints load into a
    detector. A whole image is a region, too: one more box per image goes through the same encoder.

    Args:
        region_encoder: Config of a ``RegionEncoder``.
        region_text_head: Config of a ``RegionTextHead``; None trains on image-text pairs alone.
        loss_image_text: Config of an ``ImageTextContrastiveLoss`` or ``ImageTextSigmoidLoss``; None
            trains on regions alone.
        global_box: The whole-image box: ``'image'`` the image without padding, ``'padded'`` the
            padded batch size, as the official code has it.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        region_encoder: dict,
        region_text_head: dict | None,
        loss_image_text: dict | None = dict(type='ImageTextContrastiveLoss'),  # noqa: B006
        global_box: str = 'image',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if global_box not in GLOBAL_BOXES:
            raise ValueError(f'global_box must be one of {GLOBAL_BOXES}, not {global_box!r}.')
        if region_text_head is None and loss_image_text is None:
            raise ValueError('Nothing to learn: give region_text_head, loss_image_text or both.')
        self.region_encoder = MODELS.build(region_encoder)
        self.region_text_head = MODELS.build(region_text_head) if region_text_head else None
        self.loss_image_text = MODELS.build(loss_image_text) if loss_image_text else None
        self.global_box = global_box
        if self.region_text_head is not None:
            self.region_text_head.check_width('student', self.region_encoder)

    def global_rois(self, img_metas: Sequence[dict], padded_shape: Sequence[int]) -> Tensor:
        """One box per image, ``(B, 5)``.

        Args:
            img_metas: With ``img_shape``.
            padded_shape: Height and width of the batch.
        """
        if self.global_box == 'padded':
            shapes = [tuple(padded_shape)] * len(img_metas)
        else:
            shapes = [meta['img_shape'][:2] for meta in img_metas]
        boxes = [torch.tensor([[0.0, 0.0, width, height]]) for height, width in shapes]
        return bbox2roi(boxes)

    def loss(
        self,
        x: Sequence[Tensor],
        rois: Tensor,
        teacher_embeddings: Tensor | None,
        text_embeddings: Tensor | None,
        img_metas: Sequence[dict],
        padded_shape: Sequence[int],
    ) -> dict[str, Tensor]:
        """Losses of a batch; regions and whole images are encoded in one pass.

        Args:
            x: ``(C4 map,)`` of the student.
            rois: Regions ``(R, 5)``.
            teacher_embeddings: ``(R, D_teacher)``, needed with a ``region_text_head``.
            text_embeddings: Caption embeddings ``(B, D)``, needed with ``loss_image_text``.
            img_metas: Metas of the ``B`` images.
            padded_shape: Height and width of the batch.
        """
        whole = self.global_rois(img_metas, padded_shape).to(rois)
        if self.region_text_head is None:
            rois = rois[:0]
        if self.loss_image_text is None:
            whole = whole[:0]
        embeddings = self.region_encoder(x, torch.cat([rois, whole]))
        regions, images = embeddings.split([len(rois), len(whole)])
        losses = {}
        if self.region_text_head is not None:
            losses.update(self.region_text_head.loss(regions, teacher_embeddings))
        if self.loss_image_text is not None:
            losses['loss_image_text'] = self.loss_image_text(images, text_embeddings)
        return losses
