# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official localizer tensors: every one has its place in ours, and every place its tensor."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from regionclip_mmdet import config_path
from regionclip_mmdet.checkpoints.official_localizer import (
    FILE_PREFIXES,
    MODEL_PREFIXES,
    convert_official_localizer,
    official_localizer_keys,
    rename_official_localizer_key,
)

KINDS = {
    # kind: arguments of official_localizer_keys, tensors in backbone and head
    'c4': (dict(), 215, 6),
    'fpn': (dict(num_fpn_levels=4), 281, 6),
    'fpn_lsj': (dict(num_fpn_levels=4, fpn_norm=True), 305, 8),
}


@pytest.mark.parametrize('kind', KINDS)
def test_all_places_are_filled_once(kind: str) -> None:
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


def test_files_of_their_own_have_other_prefixes_and_more_tensors() -> None:
    keys = official_localizer_keys()
    state = {}
    for i, key in enumerate(keys):
        for model_prefix, file_prefix in zip(MODEL_PREFIXES, FILE_PREFIXES):
            if key.startswith(model_prefix):
                state[file_prefix + key[len(model_prefix) :]] = torch.tensor(float(i))
    state['roi_heads.res5.0.conv1.weight'] = torch.zeros(1)
    state['proposal_generator.anchor_generator.cell_anchors.0'] = torch.zeros(1)
    converted = convert_official_localizer(state, FILE_PREFIXES)
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
