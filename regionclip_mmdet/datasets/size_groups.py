# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Batches of images of one size: without padding, which changes what lies at their border."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar('Item')
# Images that wait for others of their size: so many batches of them at most.
MAX_WAITING = 16


def groups_of_one_size(
    items: Iterable[Item], size_of: Callable[[Item], Hashable], batch_size: int
) -> Iterator[list[Item]]:
    """Groups of at most ``batch_size`` items of equal size, every item once.

    At most ``16 * batch_size`` items are held; then the largest group goes, though it is not full.

    Args:
        items: In any order, taken one by one.
        size_of: Size of an item.
        batch_size: Items of a full group.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size must be positive, not {batch_size}.')
    waiting: dict[Hashable, list[Item]] = {}
    for item in items:
        size = size_of(item)
        waiting.setdefault(size, []).append(item)
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) > MAX_WAITING * batch_size:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size])))
    yield from waiting.values()
