# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the official RegionCLIP's tensors and ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Official prefix -> ours; the first that fits wins. What is not listed keeps its name.
RECOGNIZER = (
    ('backbone.layer4.', 'roi_head.region_encoder.layer4.'),
    ('backbone.attnpool.', 'roi_head.region_encoder.attnpool.'),
    ('teacher_backbone.layer4.', 'teacher.region_encoder.layer4.'),
    ('teacher_backbone.attnpool.', 'teacher.region_encoder.attnpool.'),
    ('teacher_backbone.', 'teacher.backbone.'),
    ('lang_encoder.', 'text_encoder.model.'),
    ('roi_heads.box_predictor.bbox_pred.', 'roi_head.bbox_head.fc_reg.'),
    ('roi_heads.mask_head.deconv.', 'roi_head.mask_head.upsample.'),
    ('roi_heads.mask_head.predictor.', 'roi_head.mask_head.conv_logits.'),
)


def rename_official_key(key: str) -> str:
    """Our name of a tensor of the official recognizer, teacher, text encoder or heads."""
    for official, ours in RECOGNIZER:
        if key.startswith(official):
            return ours + key[len(official) :]
    return key


def official_key(key: str) -> str:
    """The inverse of ``rename_official_key``."""
    for official, ours in RECOGNIZER:
        if key.startswith(ours):
            return official + key[len(ours) :]
    return key


def convert_official_recognizer(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the recognizer's part of an official state dict.

    Localizer tensors (``offline_*``) and stored class embeddings (``cls_score`` and the like) are
    left out: embeddings without names are read by ``TextEmbeddings.from_tensor``.

    Args:
        state_dict: Tensors by official name.

    Returns:
        The same tensors by our names.
    """
    left_out = ('offline_', 'roi_heads.box_predictor.cls_', 'roi_heads.box_predictor.test_cls_')
    return {
        rename_official_key(key): tensor
        for key, tensor in state_dict.items()
        if not key.startswith(left_out)
    }
