# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Lists of pairs to leave out."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from .shard_files import ShardFiles


def read_exclusions(path: str, shards: Sequence[str], access: ShardFiles) -> dict[int, set[str]]:
    """Keys to leave out, by number of shard.

    Args:
        path: A file whose lines begin with a shard's name, a tab and a key.
        shards: Paths of all shards.
        access: Says whether the file is local, and reads it if not.

    Raises:
        FileNotFoundError: No such file.
        OSError: It is not local and cannot be fetched.
        ValueError: A line means nothing, or its shard's name is that of several.
    """
    if not access.is_local(path):
        text = access.get(path).decode()
    elif osp.isfile(path):
        text = Path(path).read_text(encoding='utf-8')
    else:
        raise FileNotFoundError(
            f'no file {path} (exclude). Make it with tools/data/inspect_image_text.py SHARDS '
            '--broken FILE.'
        )
    numbers: dict[str, list[int]] = {}
    for number, shard in enumerate(shards):
        numbers.setdefault(osp.basename(shard), []).append(number)
    found: dict[int, set[str]] = {}
    for line, row in enumerate(text.split('\n'), start=1):
        shard, _, rest = row.rstrip('\r').partition('\t')
        key = rest.partition('\t')[0]
        if row.strip() and not key:
            raise ValueError(f'{path}, line {line}: needs a shard, a tab and a key.')
        named = numbers.get(osp.basename(shard), []) if key else []
        if len(named) > 1:
            raise ValueError(
                f'{path}, line {line}: {len(named)} shards are called {shard}; make a dataset of '
                'each folder.'
            )
        for number in named:
            found.setdefault(number, set()).add(key)
    return found
