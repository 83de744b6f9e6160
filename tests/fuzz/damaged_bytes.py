# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Sound files with a few bytes wrong, by a seed; what a case may end in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.time_limit import time_limit

_NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """One or two kinds of damage: flips, cuts, swaps, zeros, grown numbers, bytes too many."""
    data = whole
    for _ in range(rng.choice((1, 1, 1, 2))):
        if len(data) > 2:
            data = rng.choice(_DAMAGES)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_near_an_end(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    place = rng.randrange(min(len(data), 400))
    changed[place if rng.random() < 0.3 else -1 - place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) - 1)] + b'x' * (rng.random() < 0.2)


def _swap(rng: random.Random, data: bytes) -> bytes:
    size = rng.randrange(1, 64)
    first, second = sorted(rng.sample(range(0, max(len(data) - size, 2)), 2))
    a, b = data[first : first + size], data[second : second + size]
    if second < first + size:
        return data
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


def _zeros(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    size = rng.choice((4, 64, 512))
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


def _number(rng: random.Random, data: bytes) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(len(data) - size, 1))
    number = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    return data[:start] + number.to_bytes(size, 'little') + data[start + size :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.choice((1, 3, 30))) + data[start:]


def _drop(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 3, 30)) :]


def _twice(rng: random.Random, data: bytes) -> bytes:
    return data + data[rng.randrange(len(data)) :]


_DAMAGES = (_flip, _flip, _flip_near_an_end, _cut, _swap, _zeros, _number, _insert, _drop, _twice)


def outcome(read: Callable[[Path], Any], path: Path) -> tuple[str, Any]:
    """How reading ends: ``'read'`` and the content, or ``'refused'`` and the message.

    Raises:
        AssertionError: It takes too long, or the message does not name the file.
        Exception: Any other than those that are ours.
    """
    with time_limit(path):
        try:
            return 'read', read(path)
        except (ValueError, OSError, MemoryError) as error:
            assert str(path) in str(error), f'without its file: {error!r}'
            return 'refused', str(error)


def both_kinds(counts: Counter) -> None:
    """That cases neither all pass nor all fail: else little would have been tried."""
    assert counts['read'] and counts['refused'], counts
