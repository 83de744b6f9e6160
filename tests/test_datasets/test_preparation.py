# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Annotation files of OV-COCO and OV-LVIS, from generated ones with the real categories."""

import copy
import json
import os
import runpy
import sys
from pathlib import Path

import pytest

from helpers import generated_annotations as generated
from regionclip_mmdet.datasets import preparation
from regionclip_mmdet.datasets.categories import COCO_80, OV_COCO_BASE, OV_COCO_NOVEL
from regionclip_mmdet.datasets.preparation import files as preparation_files
from regionclip_mmdet.datasets.preparation.subsets import Counts

TOOLS = Path(__file__).parents[2] / 'tools' / 'data'
# person, chair: base; cat, bus: novel; stop sign: neither
OBJECTS = [['person', 'cat'], ['cat', 'bus'], ['stop sign'], [], ['chair', 'stop sign'], ['bus']]


def run_tool(monkeypatch: pytest.MonkeyPatch, name: str, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
    runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))


def ids(content: dict, part: str = 'images') -> list[int]:
    return [entry['id'] for entry in content[part]]


@pytest.fixture()
def coco(tmp_path: Path) -> Path:
    content = generated.coco_instances(OBJECTS)
    for split in ('train', 'val'):
        generated.write(tmp_path / f'annotations/instances_{split}2017.json', content)
    return tmp_path


def test_ov_coco(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run_tool(monkeypatch, 'prepare_ov_coco', coco, '--any-size')
    assert 'ov_coco_val_all.json: 4 images, 6 annotations, 65 categories' in capsys.readouterr().out
    expected = {  # name: images, annotations
        'train_base': ([101, 105], [1, 6]),
        'val_base': ([101, 105], [1, 6]),
        'val_novel': ([101, 102, 106], [2, 3, 4, 8]),
        'val_all': ([101, 102, 105, 106], [1, 2, 3, 4, 6, 8]),
        'val_all_images': ([101, 102, 103, 104, 105, 106], [1, 2, 3, 4, 6, 8]),
    }
    both = [name for name in COCO_80 if name in OV_COCO_BASE + OV_COCO_NOVEL]
    names = {'base': list(OV_COCO_BASE), 'novel': list(OV_COCO_NOVEL), 'all': both, 'images': both}
    source = generated.coco_instances(OBJECTS)
    for name, (images, annotations) in expected.items():
        content = read(coco / f'annotations/ov_coco_{name}.json')
        assert ids(content) == images
        assert ids(content, 'annotations') == annotations
        kept = [c['name'] for c in content['categories']]
        assert kept == names[name.split('_')[-1]]
        assert ids(content, 'categories') == [generated.COCO_IDS[n] for n in kept]
        assert all(ann in source['annotations'] for ann in content['annotations'])
        assert content['info'] == source['info']
    assert len(OV_COCO_BASE) == 48 and len(OV_COCO_NOVEL) == 17 and len(both) == 65


def test_the_same_bytes_every_time(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for _ in range(2):
        run_tool(monkeypatch, 'prepare_ov_coco', coco, '--any-size')
        runs.append({p.name: p.read_bytes() for p in (coco / 'annotations').iterdir()})
    assert runs[0] == runs[1] and len(runs[0]) == 7


def test_other_counts_than_the_public_ones_are_refused(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match=r'has 6 images; of the public data it would be 118287'):
        run_tool(monkeypatch, 'prepare_ov_coco', coco)
    assert len(list((coco / 'annotations').iterdir())) == 2
    # the source as known, the result not: the train file of six images passes itself off
    known = {split: Counts(dict(images=6, categories=80)) for split in ('train', 'val')}
    monkeypatch.setattr(preparation.ov_coco, 'KNOWN', {**preparation.ov_coco.KNOWN, **known})
    with pytest.raises(SystemExit, match=r'val_all.json has 4 images; .* be 4836'):
        run_tool(monkeypatch, 'prepare_ov_coco', coco, '--parts', 'val')
    assert len(list((coco / 'annotations').iterdir())) == 2
    # no count is known of this file: it is written
    run_tool(monkeypatch, 'prepare_ov_coco', coco, '--parts', 'train')
    said = capsys.readouterr().out
    assert 'train_base.json: 2 images, 2 annotations, 48 categories' in said
    assert ids(read(coco / 'annotations/ov_coco_train_base.json')) == [101, 105]


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (
        ('prepare_ov_coco', 'instances_train2017'),
        ('prepare_ov_lvis', 'lvis_v1_train'),
    ):
        with pytest.raises(
            SystemExit, match=f'annotation file .*{file}.json does not exist. docs/data.md'
        ):
            run_tool(monkeypatch, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_own_split(coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = generated.write(tmp_path / 'split.json', dict(base=['stop sign'], novel=['cat']))
    run_tool(monkeypatch, 'prepare_ov_coco', coco, '--split', split, '--out', tmp_path / 'own')
    content = read(tmp_path / 'own/ov_coco_train_base.json')
    assert ids(content) == [103, 105] and [c['name'] for c in content['categories']] == [
        'stop sign'
    ]
    assert ids(read(tmp_path / 'own/ov_coco_val_all.json')) == [101, 102, 103, 105]
    for bad, message in (
        (dict(base=['cat'], novel=['cat']), 'both'),
        (dict(base=['gnu'], novel=['cat']), r"no categories \['gnu'\]"),
        (['cat'], "split.json: needs an object with the lists 'base' and 'novel'"),
        (dict(base='cat', novel=['dog']), "the lists 'base' and 'novel'"),
        (dict(base=[['cat']], novel=['dog']), 'of names'),
    ):
        generated.write(split, bad)
        with pytest.raises(SystemExit, match=message):
            run_tool(monkeypatch, 'prepare_ov_coco', coco, '--split', split)


def test_crowds_count_and_inputs_stay(coco: Path) -> None:
    content = generated.coco_instances([['person'], ['cat']])
    content['annotations'][0]['iscrowd'] = 1
    before = copy.deepcopy(content)
    part = preparation.keep_categories(content, {generated.COCO_IDS['person']})
    assert ids(part) == [101]
    assert content == before


def test_all_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / 'a.json', tmp_path / 'b.json'
    first.write_text('old')
    with pytest.raises(TypeError):  # the second cannot be written as JSON
        preparation.write_all({first: dict(x=[1]), second: dict(x=[{1, 2}])}, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['a.json'] and first.read_text() == 'old'
    monkeypatch.setattr(preparation_files, '_CHUNK', 2)
    content = dict(info=dict(a='ä'), empty=[], rows=[[1], {'b': 2}, 'c', None, 5])
    preparation.write_all({first: content, second: {}, tmp_path / 'c.txt': ['x', 'y']}, False)
    assert read(first) == content and read(second) == {}
    assert (tmp_path / 'c.txt').read_text() == 'x\ny\n'


# 1: common, 3: frequent, 13 and 14: rare (LVIS v1)
LVIS_OBJECTS = [[1, 3, 13], [13, 14], [], [3]]


@pytest.fixture()
def lvis(tmp_path: Path) -> Path:
    for split in ('train', 'val'):
        content = generated.lvis_instances(LVIS_OBJECTS, split)
        generated.write(tmp_path / f'annotations/lvis_v1_{split}.json', content)
    return tmp_path


def test_ov_lvis(lvis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = generated.write(lvis / 'minival.json', dict(images=[dict(id=202), dict(id=201)]))
    run_tool(monkeypatch, 'prepare_ov_lvis', lvis, '--any-size', '--minival', wanted)
    out = lvis / 'annotations'
    train = read(out / 'ov_lvis_train_base.json')
    assert ids(train) == [201, 204] and ids(train, 'annotations') == [1, 2, 6]
    frequencies = [c['frequency'] for c in train['categories']]
    assert (frequencies.count('f'), frequencies.count('c'), frequencies.count('r')) == (405, 461, 0)
    assert train['images'][1]['neg_category_ids'] == [1]
    base = (out / 'ov_lvis_base_names.txt').read_text().splitlines()
    novel = (out / 'ov_lvis_novel_names.txt').read_text().splitlines()
    assert base == [c['name'] for c in train['categories']] and len(base) == 866
    assert len(novel) == 337 and novel[:2] == ['applesauce', 'apricot']
    minival = read(out / 'ov_lvis_minival.json')
    assert ids(minival) == [201, 202] and ids(minival, 'annotations') == [1, 2, 3, 4, 5]
    assert len(minival['categories']) == 1203
    annotated = read(out / 'ov_lvis_val_annotated.json')
    assert ids(annotated) == [201, 202, 204] and len(annotated['annotations']) == 6


def test_ov_lvis_refuses(
    lvis: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    val = lvis / 'annotations/lvis_v1_val.json'
    args = ('prepare_ov_lvis', lvis, '--parts', 'val')
    run_tool(monkeypatch, *args, '--out', lvis / 'out')
    said = capsys.readouterr().out
    assert '4 images' in said and 'compared: categories' in said
    assert len(read(lvis / 'out/ov_lvis_val_annotated.json')['images']) == 3
    content = read(val)
    content['categories'][12]['frequency'] = 'c'
    generated.write(val, content)
    with pytest.raises(SystemExit, match=r"1 categories .* differ.*\(13, 'applesauce', 'r'\)"):
        run_tool(monkeypatch, *args)
    del content['categories'][12]['frequency']
    generated.write(val, content)
    with pytest.raises(SystemExit, match="no frequency .* 'applesauce'"):
        run_tool(monkeypatch, *args, '--any-size')
    generated.write(val, generated.lvis_instances(LVIS_OBJECTS))
    listed = lvis / 'ids.txt'
    listed.write_text('201\n999\n')
    with pytest.raises(SystemExit, match=r'1 of 2 image ids are not in the annotations.*\[999\]'):
        run_tool(monkeypatch, *args, '--any-size', '--minival', listed)
    assert not list((lvis / 'annotations').glob('ov_lvis*'))


@pytest.mark.parametrize(
    ('name', 'text'), [('a.txt', '5\n7\n'), ('a.json', '[5, 7]'), ('b.json', '{"images":[5,7]}')]
)
def test_image_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert preparation.read_image_ids(tmp_path / name) == {5, 7}
    bad = ['x.jpg', '\xff']
    if name.endswith('json'):
        bad = [
            '["x"]',
            '7',
            '{"images": 7}',
            '{"images": [{"id": [5]}]}',
            '[1.5]',
            '[true]',
            '[1e999]',
        ]
    for text in bad:
        (tmp_path / name).write_text(text, encoding='latin-1')
        with pytest.raises(ValueError, match=f'{name}: not a list of image ids'):
            preparation.read_image_ids(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f'image list .*none{name}'):
        preparation.read_image_ids(tmp_path / f'none{name}')


def test_index_of_image_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    images = tmp_path / 'images'
    (images / '1').mkdir(parents=True)
    for name in ('1/b.jpg', '1/a.PNG', 'z.webp', '1/none.jpg', '1/empty.jpg', '1/bad.jpg', 'c.tar'):
        (images / name).write_bytes(b'')
    for name, text in (
        ('1/b.txt', ' ein Bär\n'),
        ('1/b.json', '{"caption": "not this one"}'),
        ('1/a.json', '{"caption": "a cat", "width": 5}'),
        ('z.txt', 'z'),
        ('1/empty.json', '{"caption": null}'),
        ('1/bad.json', '[1'),
    ):
        (images / name).write_text(text, encoding='utf-8')
    (images / '__MACOSX').mkdir()
    for name in ('._z.webp', '__MACOSX/._a.jpg', 'g.gif', 'h.avif', '1/deep.jpg', '1/two.jpg'):
        (images / name).write_bytes(b'')
    (images / os.fsdecode(b'caf\xe9.jpg')).write_bytes(b'')
    (images / '1/deep.json').write_text('[' * 99999)
    (images / '1/two.json').write_text('{"caption": ["one", "two"]}')
    run_tool(monkeypatch, 'index_image_text', tmp_path)
    rows = [json.loads(line) for line in (tmp_path / 'train.jsonl').read_text().splitlines()]
    assert rows == [
        {'image': 'z.webp', 'caption': 'z'},
        {'image': '1/a.PNG', 'caption': 'a cat'},
        {'image': '1/b.jpg', 'caption': 'ein Bär'},
        {'image': '1/two.jpg', 'captions': ['one', 'two']},
    ]
    said = capsys.readouterr().out
    for part in (
        *('2 images whose .txt', '1 images with an empty', '4 images with a', '1 images without'),
        *('1 images of a kind that is not read (.gif)', '(.avif)', '1 images whose name is not'),
    ):
        assert part in said
    assert '._' not in said
    with pytest.raises(SystemExit, match=r'not written: .*no folder'):
        run_tool(monkeypatch, 'index_image_text', tmp_path / 'elsewhere')
    (tmp_path / 'tars').mkdir()
    with pytest.raises(SystemExit, match=r'has no images\..*\(\.tar\) must be unpacked'):
        run_tool(monkeypatch, 'index_image_text', tmp_path, '--images', tmp_path / 'tars')
