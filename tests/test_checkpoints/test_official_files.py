# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Complete official files of every kind: used up, whatever they are wrapped into, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from helpers import official_layouts as official
from regionclip_mmdet import config_path, conversion
from regionclip_mmdet.checkpoints import layouts
from regionclip_mmdet.checkpoints.files import read_file

State = dict[str, Tensor]
IMAGE = {'backbone', 'roi_head.region_encoder'}
BOX = {'roi_head.bbox_head.fc_reg'}
TEXT, LOCALIZER, MASKS = {'text_encoder'}, {'localizer'}, {'roi_head.mask_head'}
TEACHER = {'teacher.backbone', 'teacher.region_encoder'}
# kind, file, parts of it; names that are not used begin with
FILES: dict[str, tuple[str, Callable[[], State], set[str], tuple[str, ...]]] = {
    'pretrained': (layouts.PRETRAINED, official.pretrained, IMAGE | TEXT | LOCALIZER, ()),
    'pretrained_lvis': (
        layouts.PRETRAINED,
        lambda: official.pretrained('fpn'),
        IMAGE | TEXT | LOCALIZER,
        (),
    ),
    'finetuned_coco': (
        layouts.FINETUNED,
        official.finetuned,
        IMAGE | LOCALIZER | BOX,
        ('roi_heads.box_predictor.',),
    ),
    'finetuned_coco_masks': (
        layouts.FINETUNED,
        lambda: official.finetuned(masks=True, test_classes=None),
        IMAGE | LOCALIZER | BOX | MASKS,
        ('roi_heads.box_predictor.',),
    ),
    'finetuned_lvis': (
        layouts.FINETUNED,
        lambda: official.finetuned('fpn_lsj', masks=True),
        IMAGE | LOCALIZER | BOX | MASKS,
        ('roi_heads.box_predictor.',),
    ),
    'teacher_student': (
        layouts.TEACHER_STUDENT,
        official.teacher_student,
        IMAGE | TEXT | TEACHER,
        (),
    ),
    'clip': (
        layouts.CLIP,
        official.clip,
        IMAGE | TEXT,
        ('logit_scale', 'input_resolution', 'context_length', 'vocab_size'),
    ),
    **{
        f'localizer_{kind}{"" if buffers else "_bare"}': (
            layouts.LOCALIZER,
            lambda kind=kind, buffers=buffers: official.localizer_file(kind, buffers),
            LOCALIZER,
            ('roi_heads.', 'pixel_', 'proposal_generator.anchor_generator.'),
        )
        for kind in official.LOCALIZERS
        for buffers in (True, False)
    },
}


def convert(content: Any) -> conversion.Conversion:
    return conversion.convert(content, custom_sizes=True)


def our_localizer(kind: str) -> nn.Module:
    cfg = Config.fromfile(config_path(f'_base_/localizers/rpn_r50_{kind}.py')).localizer
    cfg.init_cfg = cfg.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


@pytest.mark.parametrize('name', FILES)
def test_a_complete_file_is_used_up(name: str) -> None:
    kind, make, parts, unused = FILES[name]
    state = make()
    result = convert(dict(model=state, iteration=90000))
    assert result.kind == kind
    assert set(result.parts) == parts
    named = [key for keys in result.unused.values() for key in keys]
    assert all(key.startswith(unused) or key.endswith('num_batches_tracked') for key in named)
    assert len(result.state_dict) + len(named) == len(state)
    assert 'unknown here' not in result.unused


@pytest.mark.parametrize('kind', official.LOCALIZERS)
def test_localizers_find_every_place(kind: str, tmp_path: Path) -> None:
    """The file converted, and as it is named in a config."""
    state = official.localizer_file(kind)
    converted = convert(dict(model=state)).state_dict
    module = our_localizer(kind)
    own = {k for k in module.state_dict() if not k.endswith('num_batches_tracked')}
    assert {f'localizer.{key}' for key in own} == set(converted)
    stem = f'backbone.{"bottom_up." * (kind != "c4")}stem.conv1.weight'
    assert torch.equal(converted['localizer.backbone.conv1.weight'], state[stem])
    logits = state['proposal_generator.rpn_head.objectness_logits.weight']
    assert torch.equal(converted['localizer.rpn_head.rpn_cls.weight'], logits)

    torch.save(dict(model=state), tmp_path / 'rpn.pth')
    module.init_cfg = dict(type='LocalizerPretrained', checkpoint=str(tmp_path / 'rpn.pth'))
    module.init_weights()
    filled = module.state_dict()
    assert all(torch.equal(filled[key], converted[f'localizer.{key}']) for key in own)


# how files are wrapped, and written
FORMS: dict[str, Callable[[State, Path], Path]] = {}


def form(write: Callable[[State, Path], object]) -> None:
    def save(state: State, folder: Path) -> Path:
        path = folder / f'file.{"pkl" if "pkl" in write.__name__ else "pth"}'
        torch.save(
            write(state, path), path, _use_new_zipfile_serialization='old' not in write.__name__
        )
        return path

    FORMS[write.__name__] = save


@form
def bare(state: State, path: Path) -> object:
    return state


@form
def model_of_detectron2_pkl(state: State, path: Path) -> object:
    return dict(model=official.as_arrays(state), __author__='x', matching_heuristics=True)


@form
def state_dict_old(state: State, path: Path) -> object:
    return dict(state_dict=state, meta={})


@form
def parallel(state: State, path: Path) -> object:
    wrapped = {f'module._orig_mod.{key}': value for key, value in state.items()}
    return dict(model=dict(state_dict=wrapped), optimizer=dict(state={0: {}}), scheduler=None)


@form
def lightning(state: State, path: Path) -> object:
    return dict(state_dict={f'model.{key}': value for key, value in state.items()}, epoch=3)


@form
def halves(state: State, path: Path) -> object:
    return dict(model={k: v.half() if v.is_floating_point() else v for k, v in state.items()})


@form
def big_endian_arrays(state: State, path: Path) -> object:
    arrays = official.as_arrays(state)
    return dict(model={k: v.astype(v.dtype.newbyteorder('>')) for k, v in arrays.items()})


@pytest.mark.parametrize('name', FORMS)
def test_however_it_is_wrapped(name: str, tmp_path: Path) -> None:
    state = official.clip() if name == 'halves' else official.teacher_student()
    expected = convert(state).state_dict
    found = convert(read_file(FORMS[name](state, tmp_path))[1]).state_dict
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        wanted = value.half().float() if name == 'halves' else value
        assert found[key].dtype == torch.float32 and torch.equal(found[key], wanted), key


def without(state: State, *beginnings: str) -> State:
    return {k: v for k, v in state.items() if not k.startswith(beginnings)}


# file, what is said
LACKING: dict[str, tuple[Callable[[], State], str]] = {
    'no attention pool': (
        lambda: without(official.pretrained(), 'backbone.attnpool.'),
        r"official pretrained RegionCLIP, but:\s+.*'backbone' is incomplete: .*attnpool",
    ),
    'no stem': (
        lambda: without(official.finetuned(), 'backbone.conv'),
        "'backbone': 3 tensors missing, e.g. backbone.conv1.weight",
    ),
    'no localizer': (
        lambda: without(official.finetuned(), 'offline_'),
        r"official finetuned detector, but:\s+'localizer' is absent",
    ),
    'no text encoder': (
        lambda: without(official.pretrained(), 'lang_encoder.'),
        "'text_encoder' is absent",
    ),
    'a text encoder cut off': (
        lambda: without(official.pretrained(), 'lang_encoder.ln_final', 'lang_encoder.text_proj'),
        "'text_encoder' is incomplete: model.text_projection is missing",
    ),
    'no box head': (
        lambda: without(official.finetuned(), 'roi_heads.box_predictor.bbox_pred'),
        "'roi_head.bbox_head.fc_reg' is absent",
    ),
    'no masks for LVIS': (
        lambda: official.finetuned('fpn_lsj'),
        "'roi_head.mask_head' is absent",
    ),
    'half of the masks': (
        lambda: without(official.finetuned(masks=True), 'roi_heads.mask_head.predictor'),
        "'roi_head.mask_head': 2 tensors missing",
    ),
    'no RPN head': (
        lambda: without(official.localizer_file('fpn'), 'proposal_generator.'),
        r"official localizer, but:\s+'localizer': 6 tensors missing, e.g. localizer.rpn_head",
    ),
    'no backbone of the localizer': (
        lambda: without(official.localizer_file('c4'), 'backbone.'),
        "'localizer': 215 tensors missing",
    ),
    'one norm of the localizer': (
        lambda: without(official.localizer_file('c4'), 'backbone.res3.0.conv1.norm'),
        "'localizer': 4 tensors missing, e.g. localizer.backbone.layer2.0.bn1",
    ),
    'the top of an FPN': (
        lambda: without(official.localizer_file('fpn_lsj'), 'backbone.fpn_output5'),
        "'localizer': 5 tensors missing, e.g. localizer.neck.fpn_convs.3",
    ),
    'an unknown layer of the localizer': (
        lambda: official.localizer_file('fpn') | {'backbone.fpn_extra.weight': torch.ones(1)},
        '1 tensors of unknown names, e.g. backbone.fpn_extra.weight',
    ),
    'a detector and a localizer in one': (
        lambda: official.finetuned() | official.localizer_file('c4'),
        'a mixture of official pretrained RegionCLIP .* and official localizer .*of its own',
    ),
    'ours and official': (
        lambda: official.pretrained() | {'roi_head.region_encoder.attnpool.x': torch.ones(1)},
        r'a mixture of regionclip_mmdet .* and official pretrained RegionCLIP',
    ),
    'two names of one tensor': (
        lambda: official.clip() | official.pretrained(),
        'Two tensors of the file are',
    ),
    'other names': (
        lambda: {f'detector.{k}': v for k, v in official.localizer_file('c4').items()},
        "None of the kinds .*detector.backbone.stem.conv1.weight'.* All begin with 'detector'",
    ),
    "another project's ResNet": (
        lambda: {
            'backbone.conv1.weight': torch.ones(64, 3, 7, 7),
            'backbone.layer4.0.conv1.weight': torch.ones(1),
            'head.fc.weight': torch.ones(1),
        },
        'None of the kinds of checkpoint',
    ),
    'other anchors': (
        lambda: (
            official.localizer_file('fpn')
            | {'proposal_generator.anchor_generator.cell_anchors.1': torch.ones(3, 4)}
        ),
        r'other anchors than those of RegionCLIP .* at level 1: .* instead of \[-45.3, -22.6',
    ),
    'a background of its own': (
        lambda: (
            official.finetuned()
            | {'roi_heads.box_predictor.cls_bg_score.weight': torch.ones(1, 32)}
        ),
        'background embedding of its own',
    ),
    'odd shapes': (
        lambda: official.clip() | {'visual.attnpool.positional_embedding': torch.zeros(0, 8)},
        "'backbone' has sizes that none of its kind has",
    ),
    'no dimensions': (
        lambda: official.clip() | {'token_embedding.weight': torch.tensor(1.0)},
        "'text_encoder' has sizes that none of its kind has",
    ),
    'a block in the middle': (
        lambda: without(official.clip(), 'visual.layer3.2.'),
        r"'backbone' is incomplete: backbone.layer3.2.\* is missing",
    ),
    'a block far away': (
        lambda: official.clip() | {'visual.layer3.999999999.conv1.weight': torch.ones(1)},
        r"'backbone' is incomplete: backbone.layer3.6.\* is missing",
    ),
    'anchors of a sixth level': (
        lambda: (
            official.localizer_file('fpn')
            | {'proposal_generator.anchor_generator.cell_anchors.5': torch.ones(3, 4)}
        ),
        'anchors at level 5; 5 levels are known',
    ),
    'whole numbers as anchors': (
        lambda: (
            official.localizer_file('fpn')
            | {'proposal_generator.anchor_generator.cell_anchors.0': torch.ones(3, 4).long()}
        ),
        'other anchors than those of RegionCLIP .* at level 0',
    ),
    'embeddings that are none': (
        lambda: (
            official.finetuned() | {'roi_heads.box_predictor.cls_score.weight': torch.tensor(1.0)}
        ),
        r'cls_score.weight should hold class embeddings .* but is \(\), torch.float32',
    ),
    'integers': (
        lambda: official.clip() | {'visual.layer1.0.bn1.weight': torch.ones(16, dtype=torch.int8)},
        r"'backbone': 1 tensors no floating point numbers, .*layer1.0.bn1.weight \(torch.int8\)",
    ),
}


@pytest.mark.parametrize('name', LACKING)
def test_what_is_missing_or_mixed_is_named(name: str) -> None:
    make, message = LACKING[name]
    with pytest.raises(ValueError, match=message):
        convert(dict(model=make()))


def test_a_localizer_that_normalizes_otherwise_is_told_of() -> None:
    state = official.localizer_file('c4') | {'pixel_std': torch.tensor([57.4, 57.1, 58.4])}
    assert 'std=[57.4' in str(convert(state)) and 'mean=' not in str(convert(state))
    odd = state | {'pixel_mean': torch.ones(4)}
    assert 'mean=[1.0, 1.0, 1.0], std=[57.4' in str(convert(odd))
    assert 'normalizes' not in str(convert(official.localizer_file('c4')))


@pytest.mark.parametrize(
    ('make', 'key', 'value'),
    [
        (official.clip, 'visual.layer3.5.conv2.weight', float('nan')),
        (official.pretrained, 'offline_backbone.res4.5.conv3.norm.running_var', float('inf')),
        (official.finetuned, 'roi_heads.box_predictor.test_cls_score.weight', float('nan')),
        (lambda: official.localizer_file('fpn'), 'backbone.fpn_lateral2.bias', float('-inf')),
    ],
)
def test_weights_that_are_not_finite_are_refused(make: Callable, key: str, value: float) -> None:
    state = make()
    state[key] = state[key].clone()
    state[key].view(-1)[-1] = value
    with pytest.raises(ValueError, match=f'1 tensor with NaN or infinite values: {key}'):
        convert(state)


def test_heads_that_are_not_used_may_be_anything() -> None:
    state = official.localizer_file('c4')
    state['roi_heads.box_predictor.cls_score.weight'] = torch.full((49, 9), float('nan'))
    result = convert(state)
    assert set(result.parts) == {'localizer'}
    assert not result.embeddings  # a classifier of its own is none of text


def test_numbers_too_large_for_float32_are_refused() -> None:
    state = official.clip() | {'visual.bn1.bias': torch.full((8,), 1e300, dtype=torch.float64)}
    with pytest.raises(ValueError, match='infinite values: visual.bn1.bias'):
        convert(state)


def test_learned_classifiers_have_no_place() -> None:
    state = official.finetuned(test_classes=None)
    state['roi_heads.box_predictor.cls_score.bias'] = torch.zeros(6)
    with pytest.raises(ValueError, match='a learned classifier .*cls_score.bias'):
        conversion.convert(dict(model=state), custom_sizes=True)


def test_recognizers_below_an_fpn_have_no_place() -> None:
    state = {
        re.sub(r'^backbone\.', 'backbone.bottom_up.', key): value
        for key, value in official.finetuned().items()
    }
    state['backbone.fpn_lateral2.weight'] = torch.zeros(256, 8, 1, 1)
    with pytest.raises(ValueError, match='a CLIP ResNet below an FPN .backbone.bottom_up.'):
        conversion.convert(dict(model=state), custom_sizes=True)
