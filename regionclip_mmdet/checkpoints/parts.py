# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the parts of a model: prefixes of its state dict, in this one list."""

from __future__ import annotations

from collections.abc import Iterable

BACKBONE = 'backbone'
REGION_ENCODER = 'roi_head.region_encoder'
TEACHER = 'teacher'
TEACHER_BACKBONE = f'{TEACHER}.backbone'
TEACHER_ENCODER = f'{TEACHER}.region_encoder'
TEXT_ENCODER = 'text_encoder'
LOCALIZER = 'localizer'
BOX_HEAD = 'roi_head.bbox_head'
BOX_DELTAS = f'{BOX_HEAD}.fc_reg'
MASK_HEAD = 'roi_head.mask_head'
# a loss that learns, as ImageTextSigmoidLoss does
IMAGE_TEXT_LOSS = 'roi_head.loss_image_text'

IMAGE_TOWER = (BACKBONE, REGION_ENCODER)
# What checkpoints are converted and checked by.
PARTS = (
    *IMAGE_TOWER,
    TEACHER_BACKBONE,
    TEACHER_ENCODER,
    TEXT_ENCODER,
    LOCALIZER,
    BOX_DELTAS,
    MASK_HEAD,
)
# Not tensors of a model but of an official finetuned file: without names, they become a vocabulary.
CLASS_EMBEDDINGS = f'{BOX_HEAD}.classifier'


def part_of(key: str, parts: Iterable[str] = PARTS) -> str:
    """The part that a tensor belongs to: the longest name that holds it; ``''`` for none."""
    return max((p for p in parts if key.startswith(f'{p}.')), key=len, default='')
