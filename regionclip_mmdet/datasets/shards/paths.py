# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Lists of shards from what a config says."""

from __future__ import annotations

import fnmatch
import glob
import os.path as osp
import re
from collections import Counter
from collections.abc import Sequence

from .shard_files import ShardFiles

_BRACE = re.compile(r'\{([^{}]*)\}')
_RANGE = re.compile(r'(\d+)\.\.(\d+)')


def expand_braces(pattern: str) -> list[str]:
    """Paths that a brace pattern stands for, as in a shell and in WebDataset.

    ``{00000..00019}`` counts, both ends included, with leading zeros to the width of the longer
    end; ``{a,b}`` lists. Several braces give all combinations, the last one varying fastest.

    Raises:
        ValueError: Braces that mean neither.
    """
    found = _BRACE.search(pattern)
    if found is None:
        if '{' in pattern or '}' in pattern:
            raise ValueError(f'{pattern!r}: a brace without its partner, or braces within braces.')
        return [pattern]
    count = _RANGE.fullmatch(found[1])
    if count is not None:
        first, last = int(count[1]), int(count[2])
        if last < first:
            raise ValueError(f'{pattern!r}: the range {found[1]} runs backwards.')
        padded = any(len(end) > 1 and end[0] == '0' for end in count.groups())
        width = max(map(len, count.groups())) if padded else 0
        parts = [f'{number:0{width}d}' for number in range(first, last + 1)]
    elif ',' in found[1]:
        parts = found[1].split(',')
    else:
        raise ValueError(
            f'{pattern!r}: {{{found[1]}}} is neither a range {{00000..00019}} nor a list {{a,b}}.'
        )
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [f'{head}{part}{rest}' for part in parts for rest in expand_braces(tail)]


def find_shards(
    patterns: str | Sequence[str], root: str = '', access: ShardFiles | None = None
) -> list[str]:
    """Files in the order in which they are named; those of ``*`` sorted.

    Local files must exist. Remote ones that are named are not asked for, so that thousands of them
    cost nothing here; their wildcards may stand in the last part of a path, if the backend lists.

    Args:
        patterns: One or several paths, each with braces (see ``expand_braces``) or ``*``, ``?``.
        root: What relative ones are relative to.
        access: Says what is local; None: everything is.

    Raises:
        FileNotFoundError: A named file is not there, or nothing matches a pattern.
        ValueError: A file is named twice, or wildcards cannot be looked up.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    paths: list[str] = []
    missing: list[str] = []
    for pattern in patterns:
        for name in expand_braces(pattern):
            path = name if '://' in name else osp.join(root, name)
            if access is None or access.is_local(path):
                found = [path]
                if glob.has_magic(name):  # the folder's own brackets are none
                    found = sorted(glob.glob(osp.join(glob.escape(root), name)))
                found = [file for file in found if osp.isfile(file)]
            else:
                found = _listed(path, access) if glob.has_magic(name) else [path]
            paths += found
            if not found:
                missing.append(path)
    if missing or not paths:
        raise FileNotFoundError(
            f'{len(missing)} of {len(missing) + len(paths)} shards do not exist, e.g. '
            f'{(missing or patterns or ["(no shard was named)"])[0]}. Check data_root and the '
            'pattern; name only shards that are there, for example {00000..00330}.tar or *.tar.'
        )
    same = [path if '://' in path else osp.abspath(path) for path in paths]
    doubles = [path for path, times in Counter(same).items() if times > 1]
    if doubles:
        raise ValueError(
            f'{len(doubles)} shards are named more than once, e.g. {doubles[0]}: their samples '
            'would count twice.'
        )
    return paths


def _listed(pattern: str, access: ShardFiles) -> list[str]:
    """Remote files that a wildcard stands for."""
    folder, _, name = pattern.rpartition('/')
    backend = access.backend(pattern)
    if not hasattr(backend, 'list_dir_or_file'):
        if not set('*[') & set(pattern):  # the ? of an address
            return [pattern]
        raise ValueError(
            f'{pattern}: {type(backend).__name__} cannot list files. Name them with braces, '
            '{00000..00330}.tar.'
        )
    if glob.has_magic(folder):
        raise ValueError(f'{pattern}: wildcards may only stand in the last part of a remote path.')
    names = backend.list_dir_or_file(folder, list_dir=False, recursive=False)
    return [f'{folder}/{found}' for found in sorted(fnmatch.filter(names, name))]
