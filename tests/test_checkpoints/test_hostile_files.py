# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that would run code or never end, on every way by which weights are read."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from helpers import hostile_files, tiny_inference, tiny_models, tiny_runner
from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.checkpoints import load_clip_state_dict, read_file
from regionclip_mmdet.models.text import EmbeddingCache, TextEmbeddings
from regionclip_mmdet.recipes.text_encoders import load_text_encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> tiny_inference.DetectorFiles:
    return tiny_inference.save_detector(tmp_path_factory.mktemp('detector'))


def tool(name: str, *words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [f'{name}.py', *map(str, words)])
        runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')


def part(init_cfg: dict) -> None:
    config = tiny_models.backbone()
    config['init_cfg'] = init_cfg
    MODELS.build(config).init_weights()


def trained(path: Path, files: tiny_inference.DetectorFiles) -> None:
    model = MODELS.build(tiny_models.detector_config(data_preprocessor=tiny_runner.PREPROCESSOR))
    tiny_runner.make_runner(model, path.parent / 'run', load_from=str(path)).train()


def cached(path: Path, files: tiny_inference.DetectorFiles) -> None:
    """The cache promises a warning and embeds anew; the file itself is asked for the error."""
    encoder = MODELS.build(tiny_models.text_encoder())
    cache = EmbeddingCache(path.parent / 'cache', encoder, 'plain')
    cache.folder.mkdir(parents=True)
    os.link(path, cache.folder / 'file.pth')
    expected = encoder.encode_names(['a'], 'plain').matrix
    assert torch.equal(cache.encode_names(['a']).matrix, expected)
    TextEmbeddings.load(path)


Way = Callable[[Path, tiny_inference.DetectorFiles], object]
WAYS: dict[str, Way] = dict(
    read=lambda path, files: read_file(path),
    clip=lambda path, files: load_clip_state_dict(path),
    backbone=lambda path, files: part(dict(type='CLIPPretrained', checkpoint=str(path))),
    pretrained=lambda path, files: part(dict(type='Pretrained', checkpoint=str(path))),
    localizer=lambda path, files: MODELS.build(tiny_models.localizer(path)).init_weights(),
    text_encoder=lambda path, files: load_text_encoder(tiny_models.TEXT_ARCH, str(path)),
    convert=lambda path, files: tool('convert_checkpoint', path, '-o', path.parent / 'o.pth'),
    embed_names=lambda path, files: tool(
        'embed_names', 'coco_80', '--arch', 'RN50', '--weights', path, '-o', path.parent / 'o.pth'
    ),
    load_checkpoint=lambda path, files: load_checkpoint(torch.nn.Linear(1, 1), str(path)),
    load_from=trained,
    init_detector=lambda path, files: init_detector(
        Config.fromfile(files.bare_config), str(path), device='cpu'
    ),
    stock_inferencer=lambda path, files: DetInferencer(
        str(files.bare_config), str(path), device='cpu'
    ),
    inferencer=lambda path, files: RegionCLIPInferencer(files.bare_config, path, device='cpu'),
    alone=lambda path, files: RegionCLIPInferencer(None, path, device='cpu', trust=True),
    words=lambda path, files: RegionCLIPInferencer(
        files.bare_config, files.bare_checkpoint, device='cpu', text_encoder=path
    ).vocabulary('a . b'),
    vocabulary=lambda path, files: RegionCLIPInferencer(
        files.bare_config, files.bare_checkpoint, device='cpu'
    ).vocabulary(str(path)),
    embeddings=lambda path, files: TextEmbeddings.from_tensor(path),
    cache=cached,
)


@pytest.fixture(params=WAYS)
def load(request: pytest.FixtureRequest, files: tiny_inference.DetectorFiles) -> Callable:
    def run(path: Path) -> None:
        with pytest.raises((ValueError, RuntimeError, SystemExit), match=path.name) as found:
            WAYS[request.param](path, files)
        assert found.type is not SystemExit or found.value.code not in (0, None)

    return run


def test_programs_of_archives(load: Callable, tmp_path: Path) -> None:
    load(hostile_files.script_that_writes(tmp_path / 'bad.pth', tmp_path / 'ran'))
    load(hostile_files.script_that_hangs(tmp_path / 'hangs.pth'))
    assert not list(tmp_path.glob('ran*'))
    assert not (tmp_path / 'o.pth').exists()


def test_code_of_pickles(load: Callable, tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f'bad_{zipped}.pth'
        content = dict(state_dict={}, extra=hostile_files.Trap(tmp_path / 'ran'))
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        load(path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.slow
def test_what_has_no_end(load: Callable, tmp_path: Path) -> None:
    torch.save(hostile_files.in_itself(), tmp_path / 'itself.pth')
    load(tmp_path / 'itself.pth')
    load(hostile_files.with_pickle(tmp_path / 'laughs.pth', hostile_files.laughs(30)))
    load(hostile_files.with_pickle(tmp_path / 'long.pth', hostile_files.steps(10**7), method=8))
