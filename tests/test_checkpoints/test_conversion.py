# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every kind of official checkpoint becomes ours completely, or is refused by name."""

from __future__ import annotations

import runpy
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from helpers import tiny_models
from helpers.official_names import official_localizer_keys
from regionclip_mmdet import config_path, conversion, renames
from regionclip_mmdet.checkpoints import layouts
from regionclip_mmdet.checkpoints.files import read_file
from regionclip_mmdet.checkpoints.official import (
    FILE_PREFIXES,
    MODEL_PREFIXES,
    official_key,
    rename_official_localizer_key,
)
from regionclip_mmdet.checkpoints.parts import part_of
from regionclip_mmdet.checkpoints.state_dicts import find_state_dict
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).resolve().parents[2]
LOCALIZERS = {
    'c4': {},
    'fpn': dict(num_fpn_levels=4),
    'fpn_lsj': dict(num_fpn_levels=4, fpn_norm=True),
}
State = dict[str, Tensor]


def tensors(module: nn.Module, prefix: str) -> State:
    return {
        prefix + key: value
        for key, value in module.state_dict().items()
        if not key.endswith('num_batches_tracked') and 'classifier' not in key
    }


@lru_cache
def parts() -> dict[str, State]:
    """Tensors of tiny parts by our names."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = tiny_models.fill(MODELS.build(tiny_models.detector_config(with_mask=True)), 1)
        text = tiny_models.fill(MODELS.build(tiny_models.text_encoder()), 2)
    image = tensors(detector.backbone, 'backbone.')
    image |= tensors(detector.roi_head.region_encoder, 'roi_head.region_encoder.')
    return dict(
        image=image,
        boxes=tensors(detector.roi_head.bbox_head, 'roi_head.bbox_head.'),
        masks=tensors(detector.roi_head.mask_head, 'roi_head.mask_head.'),
        text=tensors(text, 'text_encoder.'),
    )


@lru_cache
def localizer(kind: str) -> State:
    """Tensors of an official localizer as in a whole model, of the true shapes."""
    cfg = Config.fromfile(config_path(f'_base_/localizers/rpn_r50_{kind}.py')).localizer
    cfg.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        shapes = {f'localizer.{k}': v.shape for k, v in MODELS.build(cfg).state_dict().items()}
    keys = official_localizer_keys(**LOCALIZERS[kind])
    return {key: torch.zeros(shapes[rename_official_localizer_key(key)]) for key in keys}


def official(*names: str) -> State:
    return {official_key(k): v for name in names for k, v in parts()[name].items()}


def localizer_file(kind: str) -> State:
    heads = ('res5.0.conv1', 'box_predictor.cls_score', 'box_predictor.bbox_pred')
    state = {f'roi_heads.{name}.weight': torch.zeros(1) for name in heads}
    for key, value in localizer(kind).items():
        for model_prefix, prefix in zip(MODEL_PREFIXES, FILE_PREFIXES, strict=True):
            if key.startswith(model_prefix):
                state[prefix + key[len(model_prefix) :]] = value
    return state


def clip_file() -> State:
    state = {layouts.clip_key(k): v for n in ('image', 'text') for k, v in parts()[n].items()}
    return state | {'logit_scale': torch.tensor(3.5), 'vocab_size': torch.tensor(49408)}


def teacher_student() -> State:
    image = official('image')
    return image | {f'teacher_{k}': v + 1 for k, v in image.items()}


def finetuned() -> State:
    generator = torch.Generator().manual_seed(0)
    box = 'roi_heads.box_predictor.'
    return (
        official('image', 'boxes', 'masks')
        | localizer('c4')
        | {
            f'{box}cls_score.weight': torch.randn(4, 32, generator=generator),
            f'{box}test_cls_score.weight': torch.randn(6, 32, generator=generator),
            f'{box}cls_bg_score.weight': torch.zeros(1, 32),
        }
    )


# kind, file, sub-modules by their prefixes in the file
FILES = {
    'clip': (layouts.CLIP, clip_file, ('visual.conv', 'visual.layer3', 'visual.attnpool', 'trans')),
    'pretrained': (
        layouts.PRETRAINED,
        lambda: official('image', 'text') | localizer('fpn_lsj'),
        ('backbone.layer1', 'backbone.layer4', 'lang_encoder', 'offline_backbone', 'offline_prop'),
    ),
    'finetuned': (
        layouts.FINETUNED,
        finetuned,
        (
            'backbone.layer2',
            'backbone.attnpool',
            'offline_backbone.res4',
            'roi_heads.box_predictor.bbox_pred',
            'roi_heads.mask_head.deconv',
            'roi_heads.box_predictor.cls_score',
        ),
    ),
    'teacher_student': (
        layouts.TEACHER_STUDENT,
        teacher_student,
        ('teacher_backbone.layer4', 'teacher_backbone.layer2', 'backbone.attnpool', 'backbone.bn2'),
    ),
    **{
        kind: (
            layouts.LOCALIZER,
            lambda kind=kind: localizer_file(kind),
            ('proposal_generator.rpn_head.conv', ('backbone.bottom_up.' * (kind != 'c4')) + 'res3'),
        )
        for kind in LOCALIZERS
    },
}
# the C4 file has no bottom_up level
FILES['c4'] = (*FILES['c4'][:2], ('proposal_generator.rpn_head.anchor_deltas', 'backbone.res3'))


def convert(state: State) -> conversion.Conversion:
    return conversion.convert(dict(model=state), custom_sizes=True)


@pytest.mark.parametrize('name', FILES)
def test_every_kind_is_recognized_and_used_up(name: str) -> None:
    kind, make, _ = FILES[name]
    state = make()
    result = convert(state)
    assert result.kind == kind and 'unknown here' not in result.unused
    unused = sum(map(len, result.unused.values()))
    assert len(result.state_dict) + unused == len(state)
    assert unused == {'clip': 2, 'finetuned': 3}.get(name, 3 if kind == layouts.LOCALIZER else 0)
    assert sum(count for _, count in result.parts.values()) == len(result.state_dict)


@pytest.mark.parametrize(
    ('name', 'dropped'), [(name, prefix) for name, (_, _, cuts) in FILES.items() for prefix in cuts]
)
def test_a_missing_submodule_is_named(name: str, dropped: str) -> None:
    state = FILES[name][1]()
    left = {key: value for key, value in state.items() if not key.startswith(dropped)}
    assert len(left) < len(state)
    with pytest.raises(ValueError) as error:
        convert(left)
    gone = [layouts.our_key(key, FILES[name][0]) for key in state if key not in left]
    own = [key for key in gone if isinstance(key, str)]
    part = part_of(own[0]) if own else 'roi_head.bbox_head.classifier'
    assert f"'{part}'" in str(error.value)


def test_detectors_of_lvis_have_masks() -> None:
    lvis = {k: v for k, v in finetuned().items() if not k.startswith('offline_')}
    lvis |= localizer('fpn_lsj')
    assert not convert(lvis).absent
    left = {k: v for k, v in lvis.items() if 'mask_head' not in k}
    with pytest.raises(ValueError, match="'roi_head.mask_head' is absent"):
        convert(left)
    allowed = conversion.convert(left, ('roi_head.mask_head',), custom_sizes=True)
    assert allowed.absent == ['roi_head.mask_head']


def test_values_find_their_places() -> None:
    result = convert(finetuned())
    for name in ('image', 'boxes', 'masks'):
        for key, value in parts()[name].items():
            assert torch.equal(result.state_dict[key], value)
    assert result.notes['arch'] == 'custom'
    both = convert(teacher_student()).state_dict
    for key, value in parts()['image'].items():
        twin = f'teacher.{key.removeprefix("roi_head.")}'
        assert torch.equal(both[key], value) and torch.equal(both[twin], value + 1)


def test_refusals() -> None:
    with pytest.raises(ValueError, match='vision transformer'):
        convert({'visual.transformer.resblocks.0.ln_1.weight': torch.zeros(2)})
    with pytest.raises(ValueError, match='None of the kinds.*fc.weight'):
        convert({'fc.weight': torch.zeros(2)})
    with pytest.raises(ValueError, match='no published size'):
        conversion.convert(clip_file())
    with pytest.raises(ValueError, match='1 tensors of unknown names, e.g. roi_heads.gate'):
        convert(finetuned() | {'roi_heads.gate': torch.zeros(1)})
    with pytest.raises(ValueError, match='background embedding of its own'):
        convert(finetuned() | {layouts.BACKGROUND: torch.ones(1, 32)})
    with pytest.raises(ValueError, match=r"'backbone': 1 tensors misshapen.*\(7,\) instead of"):
        convert(clip_file() | {'visual.bn3.bias': torch.zeros(7)})
    with pytest.raises(ValueError, match="'text_encoder' is absent"):
        convert({k: v for k, v in clip_file().items() if k.startswith('visual.')})


def test_state_dicts_in_one_another_without_end() -> None:
    content: dict = {}
    content['model'] = {'state_dict': content}
    with pytest.raises(ValueError, match='w.pth holds state dicts in one another without end'):
        find_state_dict(content, 'w.pth')
    content = {'a': torch.ones(1)}
    for _ in range(4):
        content = {'model': content}
    assert list(find_state_dict(content)) == ['a']


def test_open_clip_there_and_back(tmp_path: Path) -> None:
    """Without loss; open_clip's own loader takes the result, strictly, and computes the same."""
    torch.manual_seed(0)
    vision = dict(layers=[1, 1, 1, 1], width=16, image_size=64, head_width=64)
    text = dict(context_length=12, vocab_size=49408, width=64, heads=1, layers=1)
    source = open_clip.CLIP(32, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()
    tiny_models.fill(source, 3)
    state = source.state_dict()
    result = convert(state)
    back, left = conversion.to_clip(result)
    floating = {k for k, v in state.items() if v.is_floating_point()}
    assert set(back) == floating and left == []
    assert all(torch.equal(back[key], state[key]) for key in floating)

    conversion.save(back, result.notes, tmp_path / 'clip.pth')
    target = open_clip.CLIP(32, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()
    open_clip.load_checkpoint(target, str(tmp_path / 'clip.pth'), strict=True)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(target.encode_image(image), source.encode_image(image))


def run_tool(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / 'convert_checkpoint.py'), run_name='__main__')


def test_tool_merges_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    other = {k: v + 2 for k, v in localizer_file('c4').items()}
    torch.save(dict(model=finetuned(), iteration=9), tmp_path / 'finetuned.pth')
    torch.save(dict(model=other), tmp_path / 'rpn.pth')
    names = [f'name {i}' for i in range(6)]
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    out = tmp_path / 'out' / 'merged.pth'
    run_tool(
        monkeypatch, tmp_path / 'finetuned.pth', tmp_path / 'rpn.pth', '--custom-sizes',
        '--names', tmp_path / 'names.txt', '-o', out,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "'localizer' is taken from the later file" in printed
    # the report tells the embeddings that were named from those that were not
    assert 'roi_head.bbox_head.test_classifier       6 names' in printed
    assert 'without names' not in printed
    assert 'text embeddings of other classes than those named, e.g. roi_heads.box_pred' in printed
    merged = read_file(out)[1]
    assert merged['meta']['dataset_meta'] == dict(classes=names)
    state = merged['state_dict']
    assert (state['localizer.backbone.conv1.weight'] == 2).all()
    matrix = finetuned()['roi_heads.box_predictor.test_cls_score.weight']
    assert torch.equal(state['roi_head.bbox_head.test_classifier.embeddings'], matrix)
    # the detector takes it whole
    config = tiny_models.detector_config(with_mask=True)
    config.roi_head.bbox_head.pop('vocabulary')
    config.localizer = Config.fromfile(config_path('_base_/localizers/rpn_r50_c4.py')).localizer
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(config).eval()
    detector.load_state_dict(state)
    assert set(detector.weight_sources().values()) == {'checkpoint'}
    assert list(detector.roi_head.bbox_head.active_classifier.names) == names


def test_tool_names_embeddings_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(torch.randn(3, 8), tmp_path / 'concepts.pth')
    (tmp_path / 'names.txt').write_text('cat\ndog\nred ball\n')
    out = tmp_path / 'vocabulary.pth'
    with pytest.raises(SystemExit, match='without names'):
        run_tool(monkeypatch, tmp_path / 'concepts.pth', '-o', out)
    assert not out.exists()
    run_tool(monkeypatch, tmp_path / 'concepts.pth', '--names', tmp_path / 'names.txt', '-o', out)
    assert TextEmbeddings.load(out).names == ('cat', 'dog', 'red ball')
    # as the official lists of nouns are
    (tmp_path / 'names.txt').write_text('cat,300\ndog,200\nred ball,100\n')
    run_tool(monkeypatch, tmp_path / 'concepts.pth', '--names', tmp_path / 'names.txt', '-o', out)
    assert TextEmbeddings.load(out).names == ('cat', 'dog', 'red ball')
    state = clip_file()
    del state['visual.bn1.weight']
    torch.save(state, tmp_path / 'clip.pth')
    with pytest.raises(SystemExit, match=r"clip.pth: CLIP, but:\s+'backbone': 1 tensors missing"):
        run_tool(
            monkeypatch, tmp_path / 'clip.pth', '--custom-sizes', '-o', tmp_path / 'x.safetensors'
        )
    assert not (tmp_path / 'x.safetensors').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([torch.ones(2)], 'a list, not a state dict'),
        (None, 'a NoneType'),
        (dict(model=None), 'a NoneType'),
        ({}, 'no tensors'),
        (dict(state_dict={}), 'no tensors'),
        (dict(a='b'), 'no tensors, only: a'),
        ({0: torch.ones(2), 1: torch.ones(2)}, r'keys that are no names, e.g. 0 \(2 of 2\)'),
        ({('visual', 1): torch.ones(2)}, r"keys that are no names, e.g. .'visual', 1.*optimizer"),
        ({'visual.x': torch.ones(2, dtype=torch.complex64)}, 'are no weights.*visual.x .*complex'),
        ({'visual.x': torch.eye(2).to_sparse()}, r'visual.x \(torch.sparse_coo'),
        (
            {'visual.x': torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
            r'visual.x \(torch.qint8\)',
        ),
        ({'visual.x': np.array(['a'])}, r'visual.x \(<U1\)'),
    ],
)
def test_tool_names_files_that_hold_no_weights(
    content: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(content, tmp_path / 'odd.pth')
    with pytest.raises(SystemExit, match=f'Nothing was written. .*odd.pth holds .*{message}'):
        run_tool(monkeypatch, tmp_path / 'odd.pth', '-o', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_names_that_fit_no_embeddings() -> None:
    result = convert(finetuned())
    with pytest.raises(ValueError, match=r"5 names .*: {'classifier': 4, 'test_classifier': 6}"):
        conversion.name_embeddings([result], list('abcde'))
    conversion.name_embeddings([result, convert(clip_file())], list('abcd'))
    assert result.notes['vocabularies']['classifier'] == dict(names=4)
    assert list(result.embeddings) == ['test_classifier']


def test_a_state_dict_that_contains_itself() -> None:
    content: dict = {'visual.x': torch.ones(1)}
    content['model'] = dict(state_dict=content)
    with pytest.raises(ValueError, match='in one another without end'):
        conversion.convert(content)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_floating_points_of_any_width_become_float32(dtype: torch.dtype) -> None:
    state = clip_file()
    narrow = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    for key, value in convert(narrow).state_dict.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, narrow[layouts.clip_key(key)].float())


def test_safetensors(tmp_path: Path) -> None:
    result = convert(clip_file())
    conversion.save(result.state_dict, result.notes, tmp_path / 'ours.safetensors')
    kind, content = read_file(tmp_path / 'ours.safetensors')
    assert kind == 'safetensors' and convert(content).kind == layouts.OURS
    assert all(torch.equal(content[key], value) for key, value in result.state_dict.items())


def test_tool_takes_names_of_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tiny_models.save_clip(tmp_path / 'clip.pth')
    asked = []

    def download(name: str) -> tuple[State, dict]:
        asked.append(name)
        return read_file(weights)[1], {}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('regionclip_mmdet.checkpoints.load_clip_state_dict', download)
    run_tool(monkeypatch, 'RN50/openai', '-o', 'clip_rn50.pth', '--custom-sizes')
    assert asked == ['RN50/openai']
    state = torch.load(tmp_path / 'clip_rn50.pth', weights_only=True)['state_dict']
    assert 'backbone.conv1.weight' in state and 'text_encoder.model.text_projection' in state
    # a name that is no CLIP model's is a file that is not there
    with pytest.raises(SystemExit, match='RN5/openai'):
        run_tool(monkeypatch, 'RN5/openai', '-o', 'x.pth')


def test_tool_knows_lists_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.randn(17, 8)
    torch.save(matrix, tmp_path / 'coco_17_target_cls_emb.pth')
    out = tmp_path / 'ov_coco_17_rn50.pth'
    source = tmp_path / 'coco_17_target_cls_emb.pth'
    run_tool(monkeypatch, source, '--names', 'ov_coco_17', '-o', out)
    made = TextEmbeddings.load(out)
    assert (made.names[0], made.names[-1]) == ('airplane', 'scissors')
    assert torch.equal(made.matrix, matrix)
    with pytest.raises(SystemExit, match='48 names'):
        run_tool(monkeypatch, source, '--names', 'ov_coco_48', '-o', tmp_path / 'x.pth')


def test_old_places_still_serve() -> None:
    import regionclip_mmdet.checkpoints.conversion as old
    from regionclip_mmdet import checkpoints

    renames._warned.clear()
    with pytest.warns(FutureWarning, match='is now regionclip_mmdet.conversion.convert'):
        assert old.convert is conversion.convert
    with pytest.warns(FutureWarning, match='is now regionclip_mmdet.conversion.export_clip'):
        assert checkpoints.export_clip_state_dict is conversion.export_clip_state_dict
