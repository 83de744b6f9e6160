# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Vocabularies made from lists of names."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from helpers import tiny_models
from regionclip_mmdet.models.text import TextEmbeddings, clean_lvis_name
from regionclip_mmdet.recipes.name_lists import LISTS, embed_names, read_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def encoder() -> torch.nn.Module:
    return tiny_models.fill(MODELS.build(tiny_models.text_encoder()))


def test_lvis_names_are_kept_but_read_as_words(encoder: torch.nn.Module) -> None:
    names = ('bow_(weapon)', 'egg_roll', 'cat')
    made = embed_names(names, encoder, 'single', lvis_style=True)
    assert made.names == names
    words = encoder.encode_names(['bow weapon', 'egg roll', 'cat'], 'single')
    assert torch.equal(made.matrix, words.matrix)
    plain = embed_names(names, encoder, 'single')
    assert not torch.allclose(plain.matrix[:2], made.matrix[:2])
    # computed beside other names: equal up to rounding
    torch.testing.assert_close(plain.matrix[2], made.matrix[2])


def test_with_a_cache_the_same(encoder: torch.nn.Module, tmp_path: Path) -> None:
    names = ('bow_(weapon)', 'egg_roll', 'cat')
    expected = embed_names(names, encoder, 'single', lvis_style=True)
    for _ in range(2):  # empty, filled
        made = embed_names(names, encoder, 'single', lvis_style=True, cache=tmp_path)
        assert made.names == names and made.provenance == expected.provenance
        torch.testing.assert_close(made.matrix, expected.matrix)
        assert list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize('name', ['ov_lvis_866', 'lvis_1203'])
def test_lvis_names_stay_distinct_as_words(name: str) -> None:
    assert len({clean_lvis_name(n) for n in LISTS[name]}) == len(LISTS[name])


def test_files_of_names(tmp_path: Path) -> None:
    path = tmp_path / 'names.txt'
    path.write_text('\ufeffcat\n\n red ball \n', encoding='utf-8')
    assert read_names(str(path)) == ('cat', 'red ball')
    path.write_text('\n\n')
    with pytest.raises(ValueError, match='holds no names'):
        read_names(str(path))
    path.write_bytes(b'caf\xe9\n')
    with pytest.raises(ValueError, match='not UTF-8'):
        read_names(str(path))
    with pytest.raises(FileNotFoundError, match='does not exist. Lists that need no file: coco_80'):
        read_names(str(tmp_path / 'absent.txt'))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['embed_names.py', *arguments])
    runpy.run_path(str(ROOT / 'tools' / 'embed_names.py'), run_name='__main__')


def test_the_tool_writes_what_the_encoder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    weights = tiny_models.save_clip(tmp_path / 'clip.pth')
    out = tmp_path / 'made' / 'ov_coco_17_tiny.pth'
    sizes = json.dumps(tiny_models.TEXT_ARCH)
    cache = ['--cache', str(tmp_path / 'cache')]
    run(
        monkeypatch,
        'ov_coco_17',
        '--arch',
        sizes,
        '--weights',
        str(weights),
        '-o',
        str(out),
        *cache,
    )
    assert f'{out}: 17 names, width 32' in capsys.readouterr().out
    made = TextEmbeddings.load(out)
    assert made.names == LISTS['ov_coco_17']
    assert made.provenance['num_templates'] == 81
    assert made.provenance['weights'] == str(weights)
    own = MODELS.build(tiny_models.text_encoder(weights))
    own.init_weights()
    torch.testing.assert_close(made.matrix, own.encode_names(LISTS['ov_coco_17']).matrix)
    assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert len(list((tmp_path / 'cache').rglob('*.pth'))) == 1


def test_the_tool_writes_nothing_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = json.dumps(tiny_models.TEXT_ARCH)
    out = tmp_path / 'out.pth'
    weights = str(tmp_path / 'no.pt')
    with pytest.raises(SystemExit, match=r'was not written.*no\.pt'):
        run(monkeypatch, 'coco_80', '--arch', sizes, '--weights', weights, '-o', str(out))
    assert not out.exists()
    with pytest.raises(SystemExit, match='open_clip knows no model'):
        run(monkeypatch, 'coco_80', '--arch', 'RN5', '-o', str(out))


def test_names_of_an_annotation_file_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / 'train.json'
    categories = [{'id': 9, 'name': 'tea pot'}, {'id': 2, 'name': 'mug'}]
    path.write_text(json.dumps({'images': [], 'annotations': [], 'categories': categories}))
    assert read_names(str(path)) == ('tea pot', 'mug')


@pytest.mark.parametrize('text', ['{"images": []}', '[1, 2]', 'mug', '{"categories": [{"id": 1}]}'])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'train.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='train.json.*(not a COCO annotation file|no valid JSON)'):
        read_names(str(path))
