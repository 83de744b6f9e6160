# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Novel names in training data: forms, whole words, synonyms, counts."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from helpers import generated_annotations as generated
from helpers import tiny_models
from regionclip_mmdet.datasets.categories import LVIS_V1, OV_COCO_NOVEL
from regionclip_mmdet.datasets.contamination import search_classes, search_texts
from regionclip_mmdet.datasets.names_in_text import NameFinder, number_forms

TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'check_contamination.py'


@pytest.mark.parametrize(
    ('name', 'forms'),
    [
        ('dog', {'dog', 'dogs'}),
        ('bus', {'bus', 'buses'}),
        ('couch', {'couch', 'couches'}),
        ('knife', {'knife', 'knives'}),
        ('scissors', {'scissors', 'scissor'}),
        ('skis', {'skis', 'ski'}),
        ('mouse', {'mouse', 'mice'}),
        ('people', {'people', 'person'}),
        ('cherry', {'cherry', 'cherries'}),
        ('berries', {'berries', 'berry'}),
        ('toy', {'toy', 'toys'}),
        ('potato', {'potato', 'potatoes'}),
        ('hot dog', {'hot dog', 'hot dogs'}),
        ('tennis', {'tennis'}),
        ('glass', {'glass', 'glasses'}),
    ],
)
def test_singular_and_plural(name: str, forms: set[str]) -> None:
    assert forms <= number_forms(name)
    assert all(form.startswith(name[:1]) for form in number_forms(name))
    assert 'tenni' not in number_forms('tennis') and 'glas' not in number_forms('glass')


def found(text: str, *names: str) -> list[tuple[str, str, str]]:
    return [tuple(mention) for mention in NameFinder(names).find(text)]


def test_whole_words() -> None:
    assert found('Two DOGS, a dog-house & the dog’s_bone', 'dog') == [
        ('dog', 'dogs', ''),
        ('dog', 'dog', ''),
        ('dog', 'dog', ''),
    ]
    assert found('hotdogs, dogma, category, catalog, buss', 'dog', 'cat') == []
    assert found('neckties on a sofa', 'tie', 'couch') == [
        ('tie', 'neckties', ''),
        ('couch', 'sofa', ''),
    ]
    assert found('his bow (weapon)', 'bow_(weapon)') == [('bow_(weapon)', 'bow', '')]
    assert found('', 'dog') == []


def test_longer_names_are_told_apart() -> None:
    assert found('a hot dog', 'dog', 'hot dog') == [
        ('hot dog', 'hot dog', ''),
        ('dog', 'dog', 'hot dog'),
    ]
    # a longer word for the same thing is no other thing
    assert ('motorcycle', 'motorcycle', '') in found('a motorcycle', 'motorcycle')
    assert found('a computer mouse', 'mouse')[0] == ('mouse', 'computer mouse', '')
    assert all(inside == '' for *_, inside in found('a computer mouse', 'mouse'))


def test_counts_in_texts() -> None:
    texts = ['a dog and another dog', 'dogs', 'hot dogs', 'a hot dog for the dog', 'a cat', 'sofa']
    texts.append('one dog, one hot dog')
    counts = search_texts(NameFinder(['dog', 'cat', 'couch', 'tie']), texts, progress=False)
    dog = counts['dog']
    assert (dog.texts, dog.inside, dog.alone) == (5, 1, 4)
    assert dict(dog.forms) == {'dog': 4, 'dogs': 1}
    assert dict(dog.longer) == {'hot dogs': 1, 'hot dog': 2}
    assert [counts[name].alone for name in ('cat', 'couch', 'tie')] == [1, 1, 0]


def test_classes_of_lvis() -> None:
    """A localizer trained on LVIS' base classes has seen boxes of every novel class of OV-COCO."""
    base = [c.id for c in LVIS_V1 if c.frequency != 'r']
    content = generated.lvis_instances([base, [next(c.id for c in LVIS_V1 if c.name == 'sofa')]])
    content['categories'] = [c for c in content['categories'] if c['frequency'] != 'r']
    hits = search_classes(NameFinder(OV_COCO_NOVEL), content)
    same = {name: [m.name for m in mentions if m.same] for name, mentions in hits.items()}
    assert all(same.values())
    assert same['couch'] == ['sofa'] and same['tie'] == ['necktie'] and same['cow'] == ['cow']
    assert [m.boxes for m in hits['couch'] if m.same] == [2]
    assert [m.name for m in hits['bus'] if not m.same] == ['camper_(vehicle)', 'school_bus']
    content['annotations'] = []  # classes without boxes
    assert not any(search_classes(NameFinder(OV_COCO_NOVEL), content).values())


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['check_contamination', *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    content = generated.coco_instances([['cat', 'person', 'cat'], ['person', 'stop sign']])
    boxes = generated.write(tmp_path / 'boxes.json', content)
    captions = tmp_path / 'captions.jsonl'
    captions.write_text(
        '{"image": "a.jpg", "captions": ["two cats", "a hot dog"]}\n'
        '{"image": "b.jpg", "caption": "a cat on a sofa"}\n'
    )
    concepts = tmp_path / 'concepts.txt'
    concepts.write_text('kitten\nbuses\n\ncat tree\n')
    embedded = tmp_path / 'concepts.pth'
    tiny_models.vocabulary(('a tie', 'dog')).save(embedded)
    out = tmp_path / 'counts.json'
    run(
        monkeypatch,
        *('ov_coco', '--annotations', boxes, '--captions', captions),
        *('--concepts', concepts, embedded, '--out', out),
    )
    lines = capsys.readouterr().out.splitlines()
    for line in (
        '  cat: cat (2 boxes)',
        '1 of 17 names are training classes, with 2 boxes.',
        '  cat: 2 texts (cats 1, cat 1)',
        '  couch: 1 texts (sofa 1)',
        '  dog: 0 texts; inside longer names: hot dog 1',
        '2 of 17 names occur in 3 texts.',
        '  bus: 1 texts (buses 1)',
        '2 of 17 names occur in 2 texts.',
    ):
        assert line in lines
    counts = json.loads(out.read_text())
    assert list(counts) == [str(p) for p in (boxes, captions, concepts, embedded)]
    assert counts[str(captions)]['cat']['texts'] == 2
    novel = tmp_path / 'novel.txt'
    novel.write_text('gnu\nstop sign\n')
    run(monkeypatch, novel, '--annotations', boxes)
    assert '  stop sign: stop sign (1 boxes)' in capsys.readouterr().out
    for args, message in (
        ((tmp_path / 'none.txt', '--annotations', boxes), 'none.txt'),
        (
            ('ov_coco', '--annotations', tmp_path / 'none.json'),
            'annotation file .*none.json does not exist',
        ),
        (
            ('ov_coco', '--captions', tmp_path / 'none.json'),
            'annotation file .*none.json does not exist',
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *args)
