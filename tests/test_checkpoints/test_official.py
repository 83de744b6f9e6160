# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Key names of the official code and ours."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS

from helpers import tiny_models
from regionclip_mmdet.checkpoints.official import (
    convert_official_recognizer,
    official_key,
    rename_official_key,
)


@pytest.mark.parametrize(
    ('official', 'ours'),
    [
        ('backbone.conv1.weight', 'backbone.conv1.weight'),
        ('backbone.layer3.0.bn1.running_var', 'backbone.layer3.0.bn1.running_var'),
        ('backbone.layer4.2.conv3.weight', 'roi_head.region_encoder.layer4.2.conv3.weight'),
        (
            'backbone.attnpool.positional_embedding',
            'roi_head.region_encoder.attnpool.positional_embedding',
        ),
        ('teacher_backbone.conv1.weight', 'teacher.backbone.conv1.weight'),
        ('teacher_backbone.layer4.0.bn1.bias', 'teacher.region_encoder.layer4.0.bn1.bias'),
        ('teacher_backbone.attnpool.q_proj.bias', 'teacher.region_encoder.attnpool.q_proj.bias'),
        ('lang_encoder.text_projection', 'text_encoder.model.text_projection'),
        ('roi_heads.box_predictor.bbox_pred.bias', 'roi_head.bbox_head.fc_reg.bias'),
        ('roi_heads.mask_head.deconv.weight', 'roi_head.mask_head.upsample.weight'),
        ('roi_heads.mask_head.predictor.bias', 'roi_head.mask_head.conv_logits.bias'),
    ],
)
def test_names_both_ways(official: str, ours: str) -> None:
    assert rename_official_key(official) == ours
    assert official_key(ours) == official


def test_every_tensor_of_the_models_has_its_place() -> None:
    model = MODELS.build(tiny_models.regionclip_config(save_frozen=True, localizer=None))
    state = model.state_dict()
    official = {official_key(key): value for key, value in state.items()}
    assert len(official) == len(state)
    assert {key.split('.')[0] for key in official} == {
        'backbone',
        'teacher_backbone',
        'lang_encoder',
    }
    official['offline_backbone.stem.conv1.weight'] = torch.zeros(1)
    for name in ('cls_score', 'cls_bg_score', 'test_cls_score'):
        official[f'roi_heads.box_predictor.{name}.weight'] = torch.zeros(1)
    converted = convert_official_recognizer(official)
    assert converted.keys() == state.keys()
    MODELS.build(tiny_models.regionclip_config(save_frozen=True, localizer=None)).load_state_dict(
        converted
    )


@pytest.mark.parametrize('with_mask', [False, True])
def test_a_finetuned_file_fits_the_detector(with_mask: bool) -> None:
    model = MODELS.build(tiny_models.detector_config(with_mask=with_mask))
    official = {official_key(k): v for k, v in model.state_dict().items() if 'classifier' not in k}
    assert 'roi_heads.box_predictor.bbox_pred.weight' in official
    assert ('roi_heads.mask_head.deconv.weight' in official) == with_mask
    model.load_state_dict(convert_official_recognizer(official))
    assert ('roi_head.mask_head' in model.weight_sources()) == with_mask
    assert set(model.weight_sources().values()) == {'checkpoint'}
