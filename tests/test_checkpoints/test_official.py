# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Key names of the official code and ours: every tensor has its place, every place its tensor."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from helpers import tiny_models
from helpers.official_names import official_localizer_keys
from regionclip_mmdet import config_path
from regionclip_mmdet.checkpoints.official import (
    FILE_PREFIXES,
    MODEL_PREFIXES,
    official_key,
    rename_official_key,
    rename_official_localizer_key,
)
from regionclip_mmdet.checkpoints.translation import translate

KINDS = {
    # kind: arguments of official_localizer_keys, tensors in backbone and head
    'c4': (dict(), 215, 6),
    'fpn': (dict(num_fpn_levels=4), 281, 6),
    'fpn_lsj': (dict(num_fpn_levels=4, fpn_norm=True), 305, 8),
}


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
    for name in ('cls_score', 'cls_bg_score', 'test_cls_score'):
        official[f'roi_heads.box_predictor.{name}.weight'] = torch.zeros(1, 32)
    converted = translate(official).state_dict
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
    model.load_state_dict(translate(official).state_dict)
    assert ('roi_head.mask_head' in model.weight_sources()) == with_mask
    assert set(model.weight_sources().values()) == {'checkpoint'}


@pytest.mark.parametrize('kind', KINDS)
def test_all_places_of_a_localizer_are_filled_once(kind: str) -> None:
    arguments, in_backbone, in_head = KINDS[kind]
    keys = official_localizer_keys(**arguments)
    assert sum(key.startswith(MODEL_PREFIXES[0]) for key in keys) == in_backbone
    assert sum(key.startswith(MODEL_PREFIXES[1]) for key in keys) == in_head
    ours = [rename_official_localizer_key(key) for key in keys]
    assert len(set(ours)) == len(ours)
    with torch.device('meta'):
        cfg = Config.fromfile(config_path(f'_base_/localizers/rpn_r50_{kind}.py'))
        cfg.localizer.backbone.init_cfg = None
        model = MODELS.build(cfg.localizer)
    wanted = {f'localizer.{k}' for k in model.state_dict() if 'num_batches_tracked' not in k}
    assert set(ours) == wanted


def test_files_of_localizers_have_other_prefixes_and_more_tensors() -> None:
    keys = official_localizer_keys()
    state = {}
    for i, key in enumerate(keys):
        for model_prefix, file_prefix in zip(MODEL_PREFIXES, FILE_PREFIXES):
            if key.startswith(model_prefix):
                state[file_prefix + key[len(model_prefix) :]] = torch.tensor(float(i))
    state['roi_heads.res5.0.conv1.weight'] = torch.zeros(1)
    converted = translate(state).state_dict
    assert len(converted) == len(keys)
    for i, key in enumerate(keys):
        assert converted[rename_official_localizer_key(key)] == i


@pytest.mark.parametrize(
    'key',
    [
        'offline_backbone.stem.conv9.weight',
        'offline_backbone.res2.0.conv1.weight_g',
        'backbone.stem.conv1.weight',
        'offline_proposal_generator.rpn_head.conv.conv0.norm.weight',
    ],
)
def test_unknown_names_are_refused(key: str) -> None:
    with pytest.raises(KeyError, match='is not the name of an official localizer tensor'):
        rename_official_localizer_key(key)
