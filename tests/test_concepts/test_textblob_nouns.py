# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Nouns of hand-labeled captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from regionclip_mmdet.concepts import concepts_of, make_backend
from regionclip_mmdet.concepts.textblob_nouns import TextBlobNouns

pytest.importorskip('textblob', reason='installed without its dependencies')
pytest.importorskip('simplemma', reason='installed without its dependencies')


@pytest.fixture(scope='module')
def backend() -> TextBlobNouns:
    return make_backend('textblob')


def named(backend: TextBlobNouns, caption: str, kind: str = 'words') -> list[str]:
    (runs,) = backend.find([caption])
    return list(concepts_of(runs, kind))


@pytest.mark.parametrize(
    ('caption', 'words'),
    [
        ('A man riding a wave on top of a surfboard.', ['man', 'wave', 'surfboard']),
        ('Two dogs and three cats lie on the grass', ['dog', 'cat', 'grass']),
        ('Women and children with geese, sheep and mice.',
         ['woman', 'child', 'goose', 'sheep', 'mouse']),
        ('People see dishes, glasses and knives in boxes on shelves',
         ['person', 'dish', 'glass', 'knife', 'box', 'shelf']),
        ('scissors, jeans, skis; trousers and a bus', ['scissors', 'jeans', 'ski', 'trousers',
                                                       'bus']),
        ("A boy's hat and the kids' toys", ['boy', 'hat', 'kid', 'toy']),
        ('THERE IS A ZEBRA IN THE ZOO', ['zebra', 'zoo']),
        ('She sees someone who has something in it', []),
        ('An orange on a plate', ['orange', 'plate']),
        ('Two bears play near the orange ball', ['bear', 'ball']),
        ('the painting of a building', ['painting', 'building']),
        ('Crème brûlée in a café', ['crème', 'brûlée', 'café']),
        ('a cafe\u0301', ['café']),  # a letter and a combining accent
    ],
)  # fmt: skip
def test_words(backend: TextBlobNouns, caption: str, words: list[str]) -> None:
    assert named(backend, caption) == words


@pytest.mark.parametrize(
    ('caption', 'phrases', 'both'),
    [
        ('A fire truck next to a stop sign.', ['fire truck', 'stop sign'],
         ['fire', 'truck', 'fire truck', 'sign', 'stop sign']),
        ('sports balls and a dog', ['sports ball', 'dog'],
         ['sport', 'ball', 'sports ball', 'dog']),
        ("a dog's ball, tennis rackets", ['dog', 'ball', 'tennis racket'],
         ['dog', 'ball', 'tennis', 'racket', 'tennis racket']),
    ],
)  # fmt: skip
def test_compounds(
    backend: TextBlobNouns, caption: str, phrases: Sequence[str], both: Sequence[str]
) -> None:
    assert named(backend, caption, 'phrases') == phrases
    assert named(backend, caption, 'both') == both
    assert named(backend, caption, 'words') == [name for name in both if ' ' not in name]


@pytest.mark.parametrize(
    'caption', ['', '  ', '!?', '12 7', '一只猫在桌子上', 'кот на столе', 'a b c x', '😀😀']
)
def test_captions_that_name_nothing(backend: TextBlobNouns, caption: str) -> None:
    assert named(backend, caption) == []


def test_latin_words_among_other_scripts(backend: TextBlobNouns) -> None:
    assert named(backend, '猫 cat стол table') == ['cat', 'table']


def test_known_mistakes(backend: TextBlobNouns) -> None:
    """docs/concepts.md says so: words that are verbs here, nouns elsewhere, and the reverse."""
    assert named(backend, 'people wash dishes') == ['person', 'wash', 'dish']
    assert named(backend, 'two teddy bears sit') == ['teddy']


def test_words_are_tagged_as_in_their_sentence(backend: TextBlobNouns) -> None:
    """The table of words rests on this: PatternTagger reads each word by itself."""
    from textblob.en.taggers import PatternTagger

    tagger = PatternTagger()
    text = 'a man in red shorts plays tennis near the orange fence while dogs run and people watch'
    together = tagger.tag(text, tokenize=False)
    assert together == [tagger.tag(word, tokenize=False)[0] for word in text.split()]


def test_labeled_captions(backend: TextBlobNouns) -> None:
    """docs/concepts.md gives these numbers: 32 captions, 108 nouns."""
    path = Path(__file__).parents[1] / 'data' / 'labeled_captions.txt'
    right = wrong = missed = 0
    for line in path.read_text(encoding='utf-8').splitlines():
        caption, labels = line.split('\t')
        wanted, found = Counter(labels.split()), Counter(named(backend, caption))
        right += (found & wanted).total()
        wrong += (found - wanted).total()
        missed += (wanted - found).total()
    assert right + missed == 108
    assert right >= 104 and wrong <= 7
