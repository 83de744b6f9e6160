# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Sound JSON with one or two things wrong, by a seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

NAN, INF = float('nan'), float('inf')
DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP]
ODD = (
    *(None, True, False, 0, 1, 2, -1, 3.5, -0.0, 1e300, NAN, INF, -INF, 10**30, 2**63, -(10**25)),
    *('', ' ', '1', 'cat', 'a\0b', '\ud800', 'ü' * 300, '../x', 'http://example.org/a/b.jpg'),
    *([], {}, [[]], [{}], [1], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], ['x'], [None] * 4, DEEP),
    *({'id': 1}, {'counts': 'abc', 'size': [1, 1]}, {'counts': [10**9], 'size': [60, 80]}),
    *({'counts': 'zzzzzzzz' * 9, 'size': [60, 80]}, {'counts': [4800], 'size': [60, 80]}),
    *([[1e9] * 6], [[1, 2, 3, 4]], [[1, 2], [3, 4]], [[NAN] * 6], [['1'] * 6], [[1, 2, 3, 4, 5]]),
)


def damaged(rng: np.random.Generator, content: Any, key: str | None = None) -> bytes:
    """A file's bytes.

    Args:
        rng: Source of all that is random.
        content: A sound file as parsed; stays as it is.
        key: What is below this key is changed in half of the files.
    """
    content = copy.deepcopy(content)
    if key is not None and rng.random() < 0.5:
        owners = [c for c, k in _places(content) if k == key and isinstance(c, dict)]
        owner = owners[rng.integers(len(owners))]
        owner[key] = (
            _changed(rng, owner[key])
            if rng.random() < 0.5
            else copy.deepcopy(ODD[rng.integers(len(ODD))])
        )
        return json.dumps(content).encode('utf-8', errors='surrogatepass')
    if rng.random() < 0.2:
        return _bytes(rng, json.dumps(content).encode())
    for _ in range(int(rng.integers(1, 3))):
        content = _changed(rng, content)
    return json.dumps(content).encode('utf-8', errors='surrogatepass')


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Containers and keys of all values."""
    found, waiting = [], [content] if isinstance(content, dict | list) else []
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


def _changed(rng: np.random.Generator, content: Any) -> Any:
    places = _places(content)
    if not places or rng.random() < 0.03:
        return copy.deepcopy(ODD[rng.integers(len(ODD))])
    container, key = places[rng.integers(len(places))]
    kind = rng.integers(6)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = [container[key]]
    elif kind == 2 and isinstance(container, list):
        container.insert(int(rng.integers(len(container) + 1)), copy.deepcopy(container[key]))
    elif kind == 3:  # the same key of every record
        name = key if isinstance(key, str) else 'id'
        odd = ODD[rng.integers(len(ODD))]
        for other, _ in places:
            if isinstance(other, dict) and name in other:
                other[name] = copy.deepcopy(odd)
    else:
        container[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return content


def _bytes(rng: np.random.Generator, data: bytes) -> bytes:
    place = int(rng.integers(len(data)))
    bit = bytes([data[place] ^ (1 << int(rng.integers(8)))])
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: data[:place],
        lambda: data[:place] + bit + data[place + 1 :],
        lambda: data[:place] + rng.bytes(9) + data[place:],
        lambda: data.decode().encode('utf-16'),
        lambda: data + data,
        lambda: b'[' * 200_000,
        lambda: data.replace(b'"id": ', b'"id": ' + b'7' * 5000, 1),
        lambda: data.replace(b'1', b'1e999'),
        lambda: b'\0' * len(data),
    )
    return kinds[rng.integers(len(kinds))]()
