# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Commands of docs/recipes.md and docs/checkpoints.md on generated files, with tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from test_checkpoints.test_conversion import (
    clip_file,
    finetuned,
    localizer,
    localizer_file,
    official,
)

from helpers import page_runner, tiny_models, tiny_recipes
from regionclip_mmdet import config_path
from regionclip_mmdet.checkpoints import read_file
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.recipes.name_lists import LISTS

LOCALIZER = config_path('_base_/localizers/rpn_r50_c4.py')
TINY_TEXT = ['--arch', json.dumps(tiny_models.TEXT_ARCH), '--weights', 'clip.pth']
TINY = {
    'prepare_ov_coco': ['--any-size'],
    'prepare_ov_lvis': ['--any-size'],
    'embed_names': TINY_TEXT,
    'convert_checkpoint': ['--custom-sizes'],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    return tmp_path


def parts(path: str) -> set[str]:
    """Which parts of a model a checkpoint holds."""
    found = torch.load(path, weights_only=True)['state_dict']
    return {key.partition('.')[0] for key in found}


def small_config(name: str) -> Config:
    """Put a config, made small, where the command looks for it; make its vocabularies."""
    cfg = tiny_recipes.load(name)
    tiny_recipes.make_files(cfg)
    page_runner.write_config(cfg, Path('configs') / name)
    return cfg


def save_detector(cfg: Config, path: str) -> None:
    with DefaultScope.overwrite_default_scope('mmdet'):
        tiny_recipes.save(tiny_models.fill(MODELS.build(cfg.model)).state_dict(), path)


def test_data(folder: Path) -> None:
    tiny_recipes.make_coco()
    tiny_recipes.make_lvis()
    made = [*folder.glob('data/*/annotations/ov_*')]
    contents = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    tiny_recipes.write_images(Path('data/cc3m/images'), ['a.jpg'])
    Path('data/cc3m/images/a.txt').write_text('a cat')
    page_runner.run('docs/recipes.md', 'index_image_text.py', TINY)
    assert len(made) > 6 and {path: path.read_bytes() for path in made} == contents
    assert json.loads(Path('data/cc3m/train.jsonl').read_text())['caption'] == 'a cat'


def test_vocabularies(folder: Path) -> None:
    tiny_models.save_clip(Path('clip.pth'))
    page_runner.run('docs/recipes.md', 'embed_names.py ov_coco_65', TINY)
    for number in (48, 65):
        made = TextEmbeddings.load(f'data/vocabularies/ov_coco_{number}_rn50.pth')
        assert made.names == tuple(LISTS[f'ov_coco_{number}']) and made.embed_dim == 32


def test_official_embeddings(folder: Path) -> None:
    Path('downloads').mkdir()
    matrix = torch.randn(65, 8)
    torch.save(matrix, 'downloads/coco_65_cls_emb.pth')
    page_runner.run('docs/recipes.md', 'coco_65_cls_emb.pth')
    made = TextEmbeddings.load('data/vocabularies/ov_coco_65_rn50.pth')
    assert torch.equal(made.matrix, matrix) and made.names == tuple(LISTS['ov_coco_65'])


def test_official_nouns(folder: Path) -> None:
    tiny_models.save_clip(Path('clip.pth'))
    Path('downloads').mkdir()
    Path('data/vocabularies').mkdir(parents=True)
    Path('downloads/coco_nouns_4764.txt').write_text('cat,300\nball,200\n')
    page_runner.run('docs/recipes.md', 'cp downloads/coco_nouns_4764.txt', TINY)
    made = TextEmbeddings.load('data/vocabularies/coco_nouns_4764_rn50.pth')
    assert made.names == ('cat', 'ball')


def pretrained() -> dict:
    return official('image', 'text') | localizer('c4')


def save_downloads(**files: dict) -> None:
    Path('downloads').mkdir(exist_ok=True)
    for name, state in files.items():
        torch.save(dict(model=state), f'downloads/{name}.pth')


def test_checkpoints_to_begin_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_downloads(
        **{'regionclip_pretrained-cc_rn50': pretrained()},
        rpn_coco_48=localizer_file('c4'),
    )
    monkeypatch.setattr(
        'regionclip_mmdet.checkpoints.load_clip_state_dict',
        lambda name: ({'RN50/openai': clip_file()}[name], {}),
    )
    page_runner.run('docs/recipes.md', 'RN50/openai', TINY)
    for name in ('regionclip', 'clip'):
        made = parts(f'checkpoints/{name}_rn50_with_rpn_coco_48.pth')
        assert made == {'backbone', 'roi_head', 'localizer', 'text_encoder'}


def test_zero_shot(folder: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_recipes.make_coco()
    for kind, name in (('gt', 'regionclip_rn50'), ('rpn', 'regionclip_rn50_with_rpn_lvis_866')):
        cfg = small_config(f'zero_shot/regionclip_rn50_{kind}_zero-shot_coco65.py')
        save_detector(cfg, f'checkpoints/{name}.pth')
    page_runner.run('docs/recipes.md', 'regionclip_rn50_rpn_zero-shot_coco65.py')
    # once for each of the two commands
    printed = ''.join(capsys.readouterr())
    assert printed.count('coco/bbox_novel_ap50: ') == 2


def test_an_official_detector(folder: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_recipes.make_coco()
    name = 'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py'
    cfg = small_config(name)
    save_downloads(
        **{'regionclip_finetuned-coco_rn50': finetuned_on_coco()}, rpn_coco_48=localizer_file('c4')
    )
    # of the layout and size that the official file has; everything else is small
    cfg.model.localizer = Config.fromfile(LOCALIZER).localizer
    cfg.model.localizer.backbone.init_cfg = None
    page_runner.write_config(cfg, Path('configs') / name)
    page_runner.run('docs/recipes.md', 'regionclip_finetuned-coco_rn50.pth', TINY)
    assert parts('checkpoints/finetuned.pth') >= {'backbone', 'roi_head', 'localizer'}
    assert 'coco/bbox_novel_ap50: ' in ''.join(capsys.readouterr())


def finetuned_on_coco() -> dict:
    box = 'roi_heads.box_predictor.'
    state = {k: v for k, v in finetuned().items() if 'mask_head' not in k}
    return state | {
        f'{box}cls_score.weight': torch.randn(48, 32),
        f'{box}test_cls_score.weight': torch.randn(65, 32),
    }


def test_converting_one_file(folder: Path) -> None:
    torch.save(dict(model=pretrained()), 'regionclip_pretrained-cc_rn50.pth')
    page_runner.run('docs/checkpoints.md', '-o regionclip_rn50.pth', TINY)
    assert parts('regionclip_rn50.pth') == {'backbone', 'roi_head', 'localizer', 'text_encoder'}
    page_runner.run('docs/checkpoints.md', '--to clip', TINY)
    back = read_file('regionclip_clip.pt')[1]['state_dict']
    assert torch.equal(back['visual.conv1.weight'], official('image')['backbone.conv1.weight'])


def test_converting_a_detector(folder: Path) -> None:
    torch.save(dict(model=finetuned_on_coco()), 'finetuned.pth')
    torch.save(dict(model=localizer_file('c4')), 'rpn_coco_48.pth')
    page_runner.run('docs/checkpoints.md', '-o detector.pth', TINY)
    assert parts('detector.pth') == {'backbone', 'roi_head', 'localizer'}


def test_converting_in_python(folder: Path, capsys: pytest.CaptureFixture) -> None:
    example = page_runner.block('docs/checkpoints.md', 'import read_file').text
    torch.save(dict(model=pretrained()), 'regionclip_pretrained-cc_rn50.pth')
    assert example.count(')[1])') == 1
    exec(example.replace(')[1])', ')[1], custom_sizes=True)'), {})
    assert parts('regionclip_rn50.pth') == {'backbone', 'roi_head', 'localizer', 'text_encoder'}
    assert 'backbone' in capsys.readouterr().out
