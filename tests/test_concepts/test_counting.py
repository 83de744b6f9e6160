# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Counting with a back end that takes capitalised words for nouns."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import pytest

from regionclip_mmdet.concepts import ConceptCounts, Noun, count_concepts
from regionclip_mmdet.concepts import counting as module


class Capitals:
    """Words with a capital are nouns; no lemmas."""

    def find(self, captions: Iterable[str]) -> Iterator[list[list[Noun]]]:
        for caption in captions:
            groups = groupby(caption.split(), key=lambda word: word[0].isupper())
            yield [[Noun(w.lower(), w.lower()) for w in run] for nouns, run in groups if nouns]


CAPTIONS = ['a Cat and a Red Ball', 'the Cat on the Cat', 'a Dog', 'a Dog', 'nothing here']


@pytest.mark.parametrize(
    ('kind', 'counts'),
    [
        ('words', {'cat': 3, 'red': 1, 'ball': 1, 'dog': 2}),
        ('phrases', {'cat': 3, 'red ball': 1, 'dog': 2}),
        ('both', {'cat': 3, 'red': 1, 'ball': 1, 'red ball': 1, 'dog': 2}),
    ],
)
def test_every_mention_counts(kind: str, counts: dict[str, int]) -> None:
    made = count_concepts(CAPTIONS, Capitals(), kind)
    assert made == ConceptCounts(Counter(counts), captions=5, without=1)


def test_the_pool_is_sorted_by_count_and_name() -> None:
    made = count_concepts([*CAPTIONS, 'an Ant', 'an Ant'], Capitals())
    pool = made.keep(2)
    assert list(pool.items()) == [('cat', 3), ('ant', 2), ('dog', 2)]
    report = made.report(pool, 2, num_left_out=4)
    assert 'captions: 7 read, 1 of them name nothing; 4 empty or broken' in report
    assert '5 raw, 3 kept (named at least 2 times); 7 of 9 mentions kept' in report


def test_an_empty_pool_is_refused() -> None:
    made = count_concepts(CAPTIONS, Capitals())
    with pytest.raises(ValueError, match="named 100 times in 5 captions; the most frequent, 'cat'"):
        made.keep(100)
    with pytest.raises(ValueError, match='in 0 captions; there is none'):
        count_concepts([], Capitals()).keep(1)


def test_any_number_of_processes_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_CHUNK', 7)
    choose = random.Random(0)
    words = ['Cat', 'Dog', 'Ball', 'on', 'Tree', 'and', 'Bus']
    captions = [' '.join(choose.choices(words, k=6)) for _ in range(200)]
    serial = count_concepts(captions, Capitals(), 'both')
    assert serial.captions == 200 and serial.counts['cat'] == ' '.join(captions).count('Cat')
    for processes in (2, 3):
        parallel = count_concepts(iter(captions), Capitals(), 'both', processes)
        assert parallel == serial
        assert list(parallel.keep(1).items()) == list(serial.keep(1).items())


def test_captions_are_read_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_CHUNK', 5)
    taken = 0

    def captions() -> Iterator[str]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield 'a Cat'

    for processes in (1, 2):
        taken = 0
        parts = module._parts(captions(), Capitals(), 'words', processes)
        assert next(parts).captions == 5
        assert taken <= 5 * processes * module._CHUNKS_PER_PROCESS
        parts.close()


class Dies(Capitals):
    """As if the system had killed the worker."""

    def find(self, captions: Iterable[str]) -> Iterator[list[list[Noun]]]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from super().find(captions)


def test_a_killed_process_is_reported() -> None:
    with pytest.raises(RuntimeError, match='was killed, usually for want of memory'):
        count_concepts(CAPTIONS, Dies(), processes=2)


class Fails(Capitals):
    """With an error of its own."""

    def find(self, captions: Iterable[str]) -> Iterator[list[list[Noun]]]:
        raise KeyError('a bad word')


@pytest.mark.parametrize('processes', [1, 2])
def test_errors_of_a_back_end_come_through(processes: int) -> None:
    with pytest.raises(KeyError, match='a bad word'):
        count_concepts(CAPTIONS, Fails(), processes=processes)


def test_no_processes() -> None:
    with pytest.raises(ValueError, match='at least 1, not 0'):
        count_concepts(CAPTIONS, Capitals(), processes=0)
