# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints made as docs/recipes.md says are what the transfer configs can begin with.

On the meta device: names and shapes at real size, no values.
"""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from regionclip_mmdet import config_path, conversion
from regionclip_mmdet.checkpoints import clip_keys

CASES = {
    'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco': (
        'pretrain/regionclip_rn50_32xb3-600k_cc3m',
        'localizers/rpn_r50-caffe-c4_8xb2-1x_coco48',
    ),
    'ov_lvis/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_ov-lvis': (
        'pretrain/regionclip_rn50x4_32xb3-600k_cc3m',
        'localizers/rpn_r50-caffe_fpn_lsj_64xb1-737k_lvis866',
    ),
    'zero_shot/regionclip_rn50_rpn_zero-shot_lvis': (
        'pretrain/regionclip_rn50_rn50x4-teacher_32xb3-600k_cc3m',
        'localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866',
    ),
}


def build(name: str) -> nn.Module:
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(Config.fromfile(config_path(f'{name}.py')).model)


def clip_state(model: nn.Module) -> dict[str, Tensor]:
    """A pretraining model's towers as OpenAI's file has them."""
    state = {}
    for part in (model.backbone, model.roi_head.region_encoder, model.text_encoder):
        own = part.state_dict()
        state |= {theirs: own[key] for key, theirs in clip_keys(part).items()}
    return state


@pytest.mark.parametrize('start', ['pretrained', 'CLIP'])
@pytest.mark.parametrize('name', CASES)
def test_recognizer_and_localizer_fill_the_detector(name: str, start: str) -> None:
    pretraining, localizer = (build(part) for part in CASES[name])
    state = pretraining.state_dict() if start == 'pretrained' else clip_state(pretraining)
    converted = [
        conversion.convert(dict(state_dict=state)),
        conversion.convert(dict(state_dict=localizer.state_dict())),
    ]
    merged, replaced = conversion.merge(converted)
    assert not replaced
    detector = build(name)
    detector.load_state_dict(merged.state_dict, strict=False)  # the guard refuses surprises
    sources = detector.weight_sources()
    new = {'roi_head.bbox_head.fc_reg', 'roi_head.mask_head'} & set(sources)
    assert {part for part, source in sources.items() if source is None} == new
    assert {sources[part] for part in set(sources) - new} == {'checkpoint'}


def test_a_localizer_of_another_kind_is_refused() -> None:
    name, (pretraining, _) = next(iter(CASES.items()))
    wrong = build('localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866')
    merged, _ = conversion.merge(
        [conversion.convert(dict(state_dict=build(pretraining).state_dict()))]
        + [conversion.convert(dict(state_dict=wrong.state_dict()))]
    )
    with pytest.raises(RuntimeError, match="'localizer': .*of another shape"):
        build(name).load_state_dict(merged.state_dict, strict=False)
