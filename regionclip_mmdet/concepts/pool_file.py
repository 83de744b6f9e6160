# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text files of concept pools: reading, writing, comparing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..datasets.preparation import write_all

# A tab is ours, a comma the official files'.
_COUNTED = re.compile(r'(?P<name>.*\S)\s*[\t,]\s*(?P<count>\d+)')


def split_count(line: str) -> tuple[str, int | None]:
    """Name and count of a line of a file of names.

    Args:
        line: 'name', 'name<TAB>count', or 'name,count' as in the official coco_nouns_4764.txt and
            googlecc_nouns_6250.txt. Outer white space does not matter.

    Returns:
        The name, '' for a blank line; the count or None.
    """
    line = line.strip()
    found = _COUNTED.fullmatch(line)
    return (found['name'], int(found['count'])) if found else (line, None)


def read_pool(path: str | Path) -> dict[str, int | None]:
    """Names and counts of a pool, ours or an official one; None where a line has no count.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is not UTF-8, holds no names or one of them twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'no concept pool {path}. Make it with tools/concepts/build_concept_pool.py.'
        )
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not UTF-8: {error}') from None
    pool: dict[str, int | None] = {}
    for number, line in enumerate(lines, start=1):
        name, count = split_count(line)
        if name in pool:
            raise ValueError(f'{path}, line {number}: {name!r} occurs twice.')
        if name:
            pool[name] = count
    if not pool:
        raise ValueError(f'{path}: holds no names.')
    return pool


def write_pool(pool: Mapping[str, int], path: str | Path) -> None:
    """Write a line 'name<TAB>count' for each concept; the whole file or nothing."""
    write_all({Path(path): [f'{name}\t{count}' for name, count in pool.items()]}, progress=False)


@dataclass(frozen=True)
class PoolOverlap:
    """How two pools agree.

    Attributes:
        common: Names of both, in the order of the first.
        only_first: Names of the first alone, in its order.
        only_second: Names of the second alone, in its order.
    """

    common: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def __str__(self) -> str:
        both = len(self.common)
        first, second = both + len(self.only_first), both + len(self.only_second)
        lines = [
            f'in both: {both}, which is {both / first:.1%} of the first ({first}) and '
            f'{both / second:.1%} of the second ({second})'
        ]
        for which, names in (('first', self.only_first), ('second', self.only_second)):
            if names:
                more = f' and {len(names) - 20} more' if len(names) > 20 else ''
                lines.append(f'only in the {which}: {", ".join(names[:20])}{more}')
        return '\n'.join(lines)


def compare_pools(first: Collection[str], second: Collection[str]) -> PoolOverlap:
    """Compare two pools by their names, upper and lower case alike."""
    in_first, in_second = ({name.lower() for name in pool} for pool in (first, second))
    return PoolOverlap(
        tuple(name for name in first if name.lower() in in_second),
        tuple(name for name in first if name.lower() not in in_second),
        tuple(name for name in second if name.lower() not in in_first),
    )
