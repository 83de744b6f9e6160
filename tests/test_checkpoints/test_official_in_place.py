# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official files and CLIP's serve as they are: as checkpoints, localizers and text encoders."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.apis import init_detector
from mmengine.config import Config
from mmengine.runner import checkpoint
from torch import Tensor, nn

from helpers import official_layouts as official
from helpers import tiny_inference
from regionclip_mmdet import config_path, conversion
from regionclip_mmdet.apis import RegionCLIPInferencer, parse_vocabulary
from regionclip_mmdet.checkpoints import translation
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.recipes.text_encoders import load_text_encoder

ROOT = Path(__file__).resolve().parents[2]


def write_config(folder: Path, reg: bool, **settings: object) -> Path:
    """A detector of the sizes of the generated files, with the vocabulary ``official.NAMES``."""
    TextEmbeddings(official.NAMES, official.embeddings(7, seed=9)).save(folder / 'names.pth')
    localizer = Config.fromfile(config_path('_base_/localizers/rpn_r50_c4.py')).localizer
    localizer.test_cfg.max_per_img = 20
    cfg = tiny_inference.config(
        bbox_head=dict(with_reg=reg, vocabulary=str(folder / 'names.pth')),
        rcnn=dict(objectness='sigmoid'),
        localizer=localizer,
    )
    for part in (cfg.model.backbone, cfg.model.roi_head.region_encoder, cfg.model.localizer):
        part.pop('init_cfg', None)
    cfg.model.backbone.arch = cfg.model.roi_head.region_encoder.arch = official.ARCH
    cfg.merge_from_dict(settings)
    cfg.prompts = ['a {}']
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def write_clip_archive(state: dict[str, Tensor], path: Path) -> None:
    """CLIP as OpenAI has it: a TorchScript archive."""
    root = nn.Module()
    for key, value in state.items():
        *owners, leaf = key.split('.')
        module = root
        for owner in owners:
            if not hasattr(module, owner):
                module.add_module(owner, nn.Module())
            module = getattr(module, owner)
        module.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(root), path)


FILES: dict[str, Callable[[Path], object]] = dict(
    finetuned=lambda path: torch.save(dict(model=official.finetuned()), path),
    pretrained=lambda path: torch.save(dict(model=official.pretrained()), path),
    clip_archive=lambda path: write_clip_archive(official.clip(), path),
)
STATES = dict(
    finetuned=official.finetuned,
    pretrained=official.pretrained,
    clip_archive=official.clip,
)


def record_log(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What is said while a state dict is loaded, by whom."""
    said: dict[str, list[str]] = dict(mmengine=[], regionclip_mmdet=[])
    for module, lines in ((checkpoint, 'mmengine'), (translation, 'regionclip_mmdet')):
        monkeypatch.setattr(
            module, 'print_log', lambda text, *_, lines=said[lines], **__: lines.append(text)
        )
    return said


@pytest.mark.parametrize('name', FILES)
def test_as_a_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmdet's own entry point; what is not in the file comes from where the config says."""
    FILES[name](tmp_path / 'official.pth')
    config = write_config(tmp_path, reg=name == 'finetuned')
    if name.startswith('clip'):  # the localizer's file as it is, too
        torch.save(dict(model=official.localizer_file('c4')), tmp_path / 'rpn.pth')
        source = dict(type='LocalizerPretrained', checkpoint=str(tmp_path / 'rpn.pth'))
        config = write_config(tmp_path, reg=False, **{'model.localizer.init_cfg': source})
    said = record_log(monkeypatch)
    model = init_detector(str(config), str(tmp_path / 'official.pth'), device='cpu')
    (line,) = said['regionclip_mmdet']
    assert line.startswith(f'checkpoint {tmp_path}/official.pth: ')
    assert 'its tensors are renamed as they are loaded' in line
    assert ('embeddings of 5 classes have no names' in line) == (name == 'finetuned')
    assert not [text for text in said['mmengine'] if 'do not match' in text]
    expected = conversion.convert(STATES[name](), custom_sizes=True).state_dict
    state = model.state_dict()
    shared = expected.keys() & state.keys()
    assert all(torch.equal(state[key], expected[key]) for key in shared)
    assert {key for key in expected if key not in shared} == {
        key for key in expected if key.startswith('text_encoder.')
    }
    model.ensure_weights()
    sources = model.weight_sources()
    localizer = sources.pop('localizer')
    assert set(sources.values()) == {f'checkpoint {tmp_path}/official.pth'}
    assert localizer.endswith('rpn.pth' if name.startswith('clip') else 'official.pth')


def test_what_a_file_lacks_names_the_command(tmp_path: Path) -> None:
    config = write_config(tmp_path, reg=False)
    path = tmp_path / 'RN50.pt'
    torch.save(official.clip(), path)
    message = rf"checkpoint {path} .*'localizer': 221 missing.*_checkpoint.py {path} OTHER -o"
    message = f'(?s){message}'
    with pytest.raises(RuntimeError, match=message):
        init_detector(str(config), str(path), device='cpu')
    torch.save(dict(model=official.localizer_file('c4')), tmp_path / 'rpn.pth')
    with pytest.raises(RuntimeError, match=r"(?s)'backbone': \d+ missing.*: official localizer"):
        init_detector(str(config), str(tmp_path / 'rpn.pth'), device='cpu')


def test_what_cannot_be_used_is_named_with_its_file(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, reg=False))
    for number, (state, message) in enumerate(
        [
            ({'visual.transformer.resblocks.0.ln_1.weight': torch.ones(2)}, 'vision transformer'),
            (official.pretrained() | official.localizer_file('c4'), 'a mixture of official'),
            (official.embeddings(7), r'convert_checkpoint.py FILE --names NAMES'),
        ]
    ):
        torch.save(state, tmp_path / f'{number}.pth')
        with pytest.raises(ValueError, match=rf'checkpoint .*{number}\.pth.*{message}'):
            init_detector(config, str(tmp_path / f'{number}.pth'), device='cpu')


def test_embeddings_given_as_names_say_the_command(tmp_path: Path) -> None:
    torch.save(official.embeddings(7), tmp_path / 'cls_emb.pth')
    with pytest.raises(ValueError, match=rf'convert_checkpoint.py {tmp_path}/cls_emb.pth --names'):
        parse_vocabulary(tmp_path / 'cls_emb.pth')


def test_nan_is_refused_on_this_way_too(tmp_path: Path) -> None:
    state = official.pretrained()
    state['backbone.bn1.bias'] = torch.full_like(state['backbone.bn1.bias'], float('nan'))
    torch.save(dict(model=state), tmp_path / 'diverged.pth')
    with pytest.raises(ValueError, match=r'diverged.pth holds 1 tensor with NaN .*backbone.bn1.b'):
        init_detector(
            str(write_config(tmp_path, reg=False)), str(tmp_path / 'diverged.pth'), device='cpu'
        )


@pytest.mark.parametrize('name', ['pretrained', 'clip_archive'])
def test_text_encoders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file given for it, as tools/embed_names.py takes it, and of one given as checkpoint."""
    path = tmp_path / 'official.pth'
    FILES[name](path)
    torch.save(official.clip(), tmp_path / 'clip.pth')
    encoder = load_text_encoder(official.TEXT_ARCH, str(tmp_path / 'clip.pth'))
    expected = encoder.encode_names(['cat', 'red ball'], ['a {}']).matrix

    torch.save(dict(model=official.finetuned()), tmp_path / 'finetuned.pth')
    text = {'model.text_encoder': dict(type='CLIPTextEncoder', arch=official.TEXT_ARCH)}
    config = write_config(tmp_path, reg=True, **text)
    given = RegionCLIPInferencer(
        config, tmp_path / 'finetuned.pth', 'cpu', str(path), show_progress=False
    )
    torch.testing.assert_close(given.vocabulary(['cat', 'red ball']).matrix, expected)

    (tmp_path / 'words.txt').write_text('cat\nred ball\n')
    words = ['embed_names.py', str(tmp_path / 'words.txt'), '--weights', str(path)]
    words += ['--arch', json.dumps(official.TEXT_ARCH), '-o', str(tmp_path / 'made.pth')]
    monkeypatch.setattr(sys, 'argv', [*words, '--templates', 'plain', '--device', 'cpu'])
    runpy.run_path(str(ROOT / 'tools' / 'embed_names.py'), run_name='__main__')
    made = TextEmbeddings.load(tmp_path / 'made.pth')
    plain = encoder.encode_names(['cat', 'red ball'], 'plain').matrix
    torch.testing.assert_close(made.matrix, plain)


def test_a_pretrained_file_brings_its_text_encoder(tmp_path: Path) -> None:
    FILES['pretrained'](tmp_path / 'official.pth')
    config = write_config(tmp_path, reg=False)
    one = RegionCLIPInferencer(config, tmp_path / 'official.pth', 'cpu', show_progress=False)
    torch.save(official.clip(), tmp_path / 'clip.pth')
    encoder = load_text_encoder(official.TEXT_ARCH, str(tmp_path / 'clip.pth'))
    expected = encoder.encode_names(['cat'], ['a {}']).matrix
    torch.testing.assert_close(one.vocabulary(['cat']).matrix, expected)
    found = one(tiny_inference.image(), texts=['cat', 'dog'])['predictions'][0]
    assert set(found['label_names']) <= {'cat', 'dog'} and found['label_names']


def test_a_file_without_a_text_encoder_says_so(tmp_path: Path) -> None:
    torch.save(dict(model=official.finetuned()), tmp_path / 'finetuned.pth')
    with pytest.raises(RuntimeError, match='finetuned.pth holds nothing of CLIPTextEncoder'):
        load_text_encoder(official.TEXT_ARCH, str(tmp_path / 'finetuned.pth'))
