# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pickles read without running them: what they say, in every protocol; bounds."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from helpers import hostile_files
from regionclip_mmdet import inert
from regionclip_mmdet.inert import Kept, Made, Named


def read(data: bytes, **options: int) -> Any:
    return inert.read(io.BytesIO(data), **options)


def plain(rng: random.Random, depth: int = 4) -> Any:
    """Any content that needs no names in protocol 4."""
    if depth and rng.random() < 0.6:
        below = [plain(rng, depth - 1) for _ in range(rng.randrange(5))]
        keys = rng.sample(['a', 'b', 3, -1.5, None, (1, ('x',)), True, b'k'], len(below))
        return rng.choice([list, tuple, lambda b: dict(zip(keys, b, strict=True))])(below)
    numbers = [rng.randrange(-(2**70), 2**70), rng.randrange(300), rng.random(), 1e300]
    texts = ['', 'é狗' * rng.randrange(100), 'x' * 300, b'\x00\xff', b'y' * 300]
    return rng.choice([*numbers, *texts, None, True, False, {1, 'a'}, frozenset((2, b'c'))])


@pytest.mark.parametrize('protocol', [4, 5])
def test_plain_content_is_that_of_pickle(protocol: int) -> None:
    rng = random.Random(protocol)
    for _ in range(300):
        content = plain(rng)
        for data in (pickle.dumps(content, protocol), hostile_files.optimized(content, protocol)):
            found = read(data)
            assert found == content and repr(found) == repr(pickle.loads(data))


@pytest.mark.parametrize('protocol', range(4))
def test_older_protocols(protocol: int) -> None:
    content = [{'a': (1, -2, 2**40), 'é狗\n': [None, True, 0.5]}, ['x' * 300] * 2, 2**100, ()]
    found = read(pickle.dumps(content, protocol))
    assert found == content and found[1][0] is found[1][1]


def test_calls_are_notes(tmp_path: Path) -> None:
    for protocol in range(6):
        found = read(pickle.dumps([hostile_files.Trap(tmp_path / 'ran')], protocol))[0]
        assert isinstance(found, Made) and found.name == 'posix.mkdir'
        assert found.args == (str(tmp_path / 'ran'),)
    assert not (tmp_path / 'ran').exists()
    found = read(b'\x80\x02c__builtin__\ngetattr\nX\x01\x00\x00\x00aQ\x86.')
    assert found == (Named('builtins.getattr'), found[1])
    assert isinstance(found[1], Kept) and found[1].key == 'a'


def test_what_follows_stays_in_the_file() -> None:
    file = io.BytesIO(pickle.dumps({'a': 1}) + pickle.dumps([2]) + b'rest')
    assert [inert.read(file), inert.read(file), file.read()] == [
        {'a': 1},
        [2],
        b'rest',
    ]


REFUSED = {
    b'': 'exhausted',
    b'\x80\x02': 'exhausted',
    b'.': 'damaged',
    b'(.': 'no value',
    b'e.': 'no mark',
    b'\x80\x09N.': 'version 9',
    b'\x82\x01.': 'EXT1',
    b'(iposix\nabort\n.': 'INST',
    b'h\x05.': 'KeyError',
    b'N}b.': 'state to a NoneType',
    b'NNa.': 'adds to a NoneType',
    b'}]Ns.': 'a list as a key',
    b'](h\x00e.': 'KeyError',
    b']q\x00h\x00a.': 'contains itself',
    b'}q\x00X\x01\x00\x00\x00ah\x00s.': 'contains itself',
    hostile_files.nested(300): 'more than 200 deep',
    b'N0' * 60 + b'N.': 'more than 100 instructions',
    b'\x8d' + b'\xff' * 7 + b'\x00' + b'.': 'unicodestring8',
    b'Nr\xff\xff\xff\x7f.': 'memo',
}


@pytest.mark.parametrize('data', REFUSED, ids=lambda data: REFUSED[data].replace(' ', '_'))
def test_refusals(data: bytes) -> None:
    with pytest.raises(ValueError, match=REFUSED[data]):
        read(data, **(dict(max_steps=100) if 'instructions' in REFUSED[data] else {}))


def test_values_that_are_referred_to_again_and_again() -> None:
    assert str(read(hostile_files.laughs(3))).count('[]') == 1000
    with pytest.raises(ValueError, match=r'more than \d+ values'):
        read(hostile_files.laughs(30))
    text = 'x' * 10**6
    with pytest.raises(ValueError, match=r'more than \d+ values'):
        read(pickle.dumps([text] * 10**3, 2))
    # but long ones that are there: the history of a million iterations
    texts = [f'{i}{text}' for i in range(40)]
    assert read(pickle.dumps(texts, 2)) == texts
