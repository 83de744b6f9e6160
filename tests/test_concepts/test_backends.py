# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What back ends need; the spaCy one, with a stand-in for spaCy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from regionclip_mmdet.concepts import concepts_of, make_backend

TAGS = {
    'two': ('NUM', 'two'),
    'fire': ('NOUN', 'fire'),
    'trucks': ('NOUN', 'truck'),
    'in': ('ADP', 'in'),
    'london': ('PROPN', 'London'),
    'x': ('NOUN', 'x'),
}


class Pipeline:
    """Tags of a table."""

    def pipe(self, texts: Iterable[str]) -> Iterator[list[SimpleNamespace]]:
        for text in texts:
            yield [
                SimpleNamespace(text=word, pos_=TAGS[word][0], lemma_=TAGS[word][1])
                for word in text.split()
            ]


@pytest.fixture
def spacy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType('spacy')
    module.loaded = []

    def load(model: str, exclude: list[str]) -> Any:
        if model == 'absent':
            raise OSError('E050')
        module.loaded.append(model)
        return Pipeline()

    module.load = load
    monkeypatch.setitem(sys.modules, 'spacy', module)
    return module


def test_runs_of_nouns(spacy: ModuleType) -> None:
    backend = make_backend('spacy', model='some_model')
    assert spacy.loaded == ['some_model']
    first, second, third = backend.find(['Two FIRE trucks in London', '', 'x'])
    assert list(concepts_of(first, 'words')) == ['fire', 'truck', 'london']
    assert list(concepts_of(first, 'phrases')) == ['fire truck', 'london']
    assert second == third == []


def test_a_missing_model_names_its_command(spacy: ModuleType) -> None:
    with pytest.raises(OSError, match='python -m spacy download absent'):
        make_backend('spacy', model='absent')


def test_without_spacy_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'spacy', None)
    with pytest.raises(ImportError, match=r'pip install "spacy.*python -m spacy download en_core'):
        make_backend('spacy')


def test_unknown_back_ends() -> None:
    with pytest.raises(ValueError, match="no back end 'nltk'; there are textblob, spacy"):
        make_backend('nltk')


def test_without_textblob_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'simplemma', None)
    with pytest.raises(ImportError, match='pip install "textblob>=0.20,<0.21" "simplemma'):
        make_backend()
