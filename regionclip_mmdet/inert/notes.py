# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What stands in place of objects that are not created, and how much of it there may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 200
# A text counts as one value for so many characters.
CHARACTERS = 64
_LEAVES = frozenset((str, bytes, int, float, bool, type(None)))


@dataclass(frozen=True)
class Named:
    """A function or class of a module, which is not looked up.

    Attributes:
        name: name with its module: ``'collections.OrderedDict'``.
    """

    name: str


@dataclass(eq=False)
class Made:
    """A call that was not made, and what was to be done to its result.

    Attributes:
        function: function that was to be called, usually ``Named``.
        args: its arguments.
        state: what was to be given to ``__setstate__`` or become its attributes; None: nothing.
        items: values that were to be appended or added.
        pairs: keys and values that were to be set.
    """

    function: Any
    args: Any
    state: Any = None
    items: list = field(default_factory=list)
    pairs: list[tuple] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the function; empty if it has none."""
        return self.function.name if isinstance(self.function, Named) else ''


@dataclass(eq=False)
class Kept:
    """Something that the file keeps outside of the pickle.

    Attributes:
        key: its name there.
    """

    key: Any


def nodes(content: Any) -> Iterator[Any]:
    """Every value in a content of plain types, ``Named``, ``Made`` and ``Kept``, each once."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        yield value
        if below := _below(value):
            seen.add(id(value))
            waiting.extend(below)


def check_bounded(content: Any, max_size: int, max_depth: int = MAX_DEPTH) -> None:
    """Refuse what cannot be walked like a tree.

    Args:
        content: plain types, ``Named``, ``Made`` and ``Kept``; others are taken as leaves.
        max_size: largest number of values, counted as often as they are referred to; long texts
            count as several.
        max_depth: deepest nesting.

    Raises:
        ValueError: There are more, or it contains itself.
    """
    sizes: dict[int, tuple[int, int]] = {}
    open_now: set[int] = set()
    waiting = [(content, False)]
    while waiting:
        value, done = waiting.pop()
        key = id(value)
        if done:
            open_now.discard(key)
            found = [sizes.get(id(v)) or (_weight(v), 1) for v in _below(value)]
            size = 1 + sum(s for s, _ in found)
            depth = 1 + max((d for _, d in found), default=0)
            if size > max_size:
                raise ValueError(f'it has more than {max_size} values')
            if depth > max_depth:
                raise ValueError(f'it is nested more than {max_depth} deep')
            sizes[key] = (size, depth)
            continue
        if type(value) in _LEAVES or key in sizes or not (below := _below(value)):
            continue
        if key in open_now:
            raise ValueError('it contains itself')
        open_now.add(key)
        waiting.append((value, True))
        waiting.extend((v, False) for v in below)


def _below(value: Any) -> list:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, Made):
        pairs = [part for pair in value.pairs for part in pair]
        return [value.function, value.args, value.state, *value.items, *pairs]
    if isinstance(value, Kept):
        return [value.key]
    return []


def _weight(value: Any) -> int:
    return 1 + len(value) // CHARACTERS if isinstance(value, str) else 1
