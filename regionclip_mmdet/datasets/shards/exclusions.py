# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Lists of pairs to leave out: lines of shard, key and reason, with tabs between."""

from __future__ import annotations

import logging
import os.path as osp
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from ...fileio import require_file
from .shard_files import ShardFiles
from .shard_index import ShardIndex, key_of

_ESCAPES = {'\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r'}
_MEANINGS = {escape: character for character, escape in _ESCAPES.items()}


def exclusion_line(shard: str, key: str, reason: str) -> str:
    r"""A line for ``read_exclusions``, without its end.

    Backslashes, tabs and ends of lines in names are written as ``\\``, ``\t``, ``\n``, ``\r``.

    Args:
        shard: Path; its last part is written.
        key: Key of the pair.
        reason: Why; for people.
    """
    fields = (_escaped(osp.basename(shard)), _escaped(key), ' '.join(reason.split()))
    return '\t'.join(fields)


def read_exclusions(
    path: str, shards: Sequence[str], indices: Sequence[ShardIndex], access: ShardFiles
) -> dict[int, set[str]]:
    """Keys to leave out, by number of shard.

    Names are first taken as ``exclusion_line`` writes them, then, where there is no such shard or
    key, as people and other programs do: literally, in quotes, with blanks around, in another
    normal form of Unicode, with the image's suffix. What names neither a pair nor a broken one of
    its shard is warned of; lines of other shards are legal.

    Args:
        path: A UTF-8 file whose lines begin with a shard's name, a tab and a key.
        shards: Paths of all shards.
        indices: Their indices.
        access: Says whether the file is local, and reads it if not.

    Raises:
        FileNotFoundError: No such file.
        OSError: It is not local and cannot be fetched.
        ValueError: A line means nothing, its shard's name is that of several, or the file is not
            UTF-8.
    """
    if not access.is_local(path):
        content = access.get(path)
    else:
        require_file(
            path,
            'list of pairs to leave out (exclude)',
            'Make it with tools/data/inspect_image_text.py SHARDS --broken FILE',
        )
        content = Path(path).read_bytes()
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} (exclude) is not UTF-8: {error}. Write it again.') from None
    numbers: dict[str, list[int]] = {}
    for number, shard in enumerate(shards):
        numbers.setdefault(osp.basename(shard), []).append(number)
    find_shard = _Finder(numbers, osp.basename)
    find_key: dict[int, _Finder] = {}
    found: dict[int, set[str]] = {}
    unknown: list[str] = []
    lines = named_lines = 0
    for line, row in enumerate(text.split('\n'), start=1):
        row = row.removesuffix('\r')
        if not row.strip():
            continue
        lines += 1
        shard, _, rest = row.partition('\t')
        key = rest.partition('\t')[0]
        if not key:
            raise ValueError(f'{path}, line {line}: needs a shard, a tab and a key.')
        name = find_shard(shard)
        if name is None:
            continue
        named_lines += 1
        if len(numbers[name]) > 1:
            raise ValueError(
                f'{path}, line {line}: {len(numbers[name])} shards are called {name}; make a '
                'dataset of each folder.'
            )
        (number,) = numbers[name]
        if number not in find_key:
            index = indices[number]
            keys = [index.key(row) for row in range(len(index))]
            find_key[number] = _Finder([*keys, *(key for key, _ in index.broken)], key_of)
        known = find_key[number](key)
        if known is None:
            unknown.append(f'line {line}: {key!r} of {name}')
        else:
            found.setdefault(number, set()).add(known)
    if unknown or (lines and not named_lines):
        what = f'{len(unknown)} of {lines} lines name no pair of their shard, e.g. {unknown[:3]}'
        if not unknown:
            what = f'none of its {lines} lines is of a shard of this dataset'
        print_log(f'{path} (exclude): {what}.', logger='current', level=logging.WARNING)
    return found


class _Finder:
    """Finds a name among others, though it may be written in other ways."""

    def __init__(self, names: Sequence[str], shorten: Callable[[str], str]) -> None:
        self.names = set(names)
        self.shorten = shorten
        self._plain: dict[str, str] | None = None

    def __call__(self, written: str) -> str | None:
        for name in self._readings(written):
            if name in self.names:
                return name
        if self._plain is None:
            self._plain = {_plain(name): name for name in self.names}
        return next(filter(None, map(self._plain.get, map(_plain, self._readings(written)))), None)

    def _readings(self, written: str) -> Iterator[str]:
        for name in (written, _unquoted(written)):
            for reading in (_meant(name), name):
                yield reading
                yield self.shorten(reading)


def _escaped(name: str) -> str:
    return re.sub(r'[\\\t\n\r]', lambda found: _ESCAPES[found[0]], name)


def _meant(name: str) -> str:
    return re.sub(r'\\[\\tnr]', lambda found: _MEANINGS[found[0]], name)


def _unquoted(name: str) -> str:
    """Without the quotes that programs for tables write around special characters."""
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def _plain(name: str) -> str:
    return unicodedata.normalize('NFC', name).strip()
