# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What users write becomes names."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from helpers import tiny_models
from regionclip_mmdet.apis import parse_vocabulary
from regionclip_mmdet.datasets.categories import COCO_80


@pytest.fixture(autouse=True)
def no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.mark.parametrize(
    ('texts', 'names'),
    [
        (['traffic cone', 'red umbrella'], ['traffic cone', 'red umbrella']),
        (('cat',), ['cat']),
        (['  traffic \t cone ', 'Cat'], ['traffic cone', 'Cat']),
        ('traffic cone . red umbrella', ['traffic cone', 'red umbrella']),
        ('café . jalapeño', ['café', 'jalapeño']),
        (['{} "x"', "o'clock"], ['{} "x"', "o'clock"]),
    ],
)
def test_lists_and_strings(texts: object, names: list[str]) -> None:
    assert parse_vocabulary(texts) == names


def test_any_iterable_of_names() -> None:
    assert parse_vocabulary(dict(cat=1, dog=2)) == ['cat', 'dog']


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / 'names.txt'
    names.write_text('﻿cat\n\n  red   ball \nwine, red\n', encoding='utf-8')
    assert (
        parse_vocabulary(names) == parse_vocabulary(str(names)) == ['cat', 'red ball', 'wine, red']
    )
    other = tmp_path / 'names without ending'
    other.write_text('dog\n')
    assert parse_vocabulary(str(other)) == ['dog']
    embeddings = tmp_path / 'names.pth'
    tiny_models.vocabulary().save(embeddings)
    loaded = parse_vocabulary(embeddings)
    assert loaded.names == tiny_models.NAMES
    assert torch.equal(loaded.matrix, tiny_models.vocabulary().matrix)
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    Path('classes.lst').write_text('cat\n')
    assert parse_vocabulary('classes.lst') == ['cat']  # an ending, and it is there
    for missing in ('names.txt', 'no/such.pth', 'my/names.json', 'a.xml', Path('nothing')):
        with pytest.raises(FileNotFoundError, match='there is no file'):
            parse_vocabulary(missing)


def test_a_bare_word_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('cat').write_text('zebra\n')
    assert parse_vocabulary('cat') == ['cat']
    assert parse_vocabulary('./cat') == parse_vocabulary(Path('cat')) == ['zebra']


def test_embeddings_are_left_alone() -> None:
    vocabulary = tiny_models.vocabulary()
    assert parse_vocabulary(vocabulary) is vocabulary


def test_known_lists() -> None:
    assert parse_vocabulary('coco_80') == list(COCO_80)
    lvis = parse_vocabulary('lvis_1203')
    assert 'bow weapon' in lvis and len(lvis) == 1203


@pytest.mark.parametrize('texts', [[], (), '', '  ', ' . . ', '\n'])
def test_nothing_is_refused_with_a_remedy(texts: object) -> None:
    with pytest.raises(ValueError, match='traffic cone . red umbrella'):
        parse_vocabulary(texts)


def test_wrong_names_in_a_list_are_named() -> None:
    with pytest.raises(ValueError, match="name 1 of 3 is blank: ' '"):
        parse_vocabulary(['cat', ' ', 'dog'])
    with pytest.raises(TypeError, match='name 1 is 7'):
        parse_vocabulary(['cat', 7])
    with pytest.raises(TypeError, match='not a int'):
        parse_vocabulary(7)


@pytest.mark.parametrize(
    ('texts', 'names'),
    [
        (['cat', 'dog', 'cat'], ['cat', 'dog']),
        (['Cat', 'dog', 'CAT', 'cat '], ['Cat', 'dog']),
        ('red  ball . red ball', ['red ball']),
    ],
)
def test_the_same_names_are_left_out_with_a_warning(texts: object, names: list[str]) -> None:
    with pytest.warns(UserWarning, match='names that occur again'):
        assert parse_vocabulary(texts) == names


def test_other_scripts_are_warned_of_and_legal() -> None:
    with pytest.warns(UserWarning, match=r'another script .* \(1\): .*кошка.*English'):
        assert parse_vocabulary(['cat', 'кошка']) == ['cat', 'кошка']
    with pytest.warns(UserWarning, match='another script'):
        parse_vocabulary('猫 . 犬')
