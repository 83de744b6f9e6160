# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where in a shard each image-text pair lies; made once, kept in a file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import os.path as osp
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ...fileio import naming_damage, read_npz, write_whole
from ..image_kinds import IMAGE_SUFFIXES
from .shard_files import ShardFiles, locked

SUFFIX = '.index.npz'
# Raise it whenever what an index holds, or the rules by which pairs are found, change.
_VERSION = 2
_folders_warned_of: set[str] = set()


def key_of(name: str) -> str:
    """Key of a pair from its image's name; names in TSV files may have dots, but no suffix."""
    key, suffix = osp.splitext(name)
    return key if suffix.lower() in IMAGE_SUFFIXES else name


@dataclass
class ShardIndex:
    """Places of all usable pairs of a shard, in the order of the file.

    Attributes:
        names: Key and suffix of each image, UTF-8, dtype ``S``, ``(N,)``.
        images: Offset and length of each image in bytes, int64 ``(N, 2)``.
        texts: The same of the text, in the shard or in its text file.
        is_json: Whether a text is JSON, bool ``(N,)``.
        broken: Key and reason of each pair that cannot be used.
        damage: What is wrong with the file as a whole; '' if nothing is.
    """

    names: np.ndarray
    images: np.ndarray
    texts: np.ndarray
    is_json: np.ndarray
    broken: list[tuple[str, str]] = field(default_factory=list)
    damage: str = ''

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[tuple[str, tuple[int, int], tuple[int, int], bool]],
        broken: list[tuple[str, str]],
        damage: str = '',
    ) -> ShardIndex:
        """An index of rows (name, place of the image, place of the text, is JSON)."""
        return cls(
            names=np.array([row[0].encode() for row in rows], dtype=bytes),
            images=np.array([row[1] for row in rows], dtype=np.int64).reshape(-1, 2),
            texts=np.array([row[2] for row in rows], dtype=np.int64).reshape(-1, 2),
            is_json=np.array([row[3] for row in rows], dtype=bool),
            broken=broken,
            damage=damage,
        )

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        """Key and suffix of an image."""
        return self.names[row].decode()

    def key(self, row: int) -> str:
        """Key of a pair: the image's name without the suffix of an image."""
        return key_of(self.name(row))

    def without(self, keys: set[str]) -> ShardIndex:
        """An index that lacks the pairs with these keys."""
        keep = [self.key(row) not in keys for row in range(len(self))]
        parts = (self.names, self.images, self.texts, self.is_json)
        kept = (part[np.array(keep, dtype=bool)] for part in parts)
        return ShardIndex(*kept, broken=self.broken, damage=self.damage)


def index_path(shard: str, options: str, cache_dir: str | None) -> str:
    """Where the index of a shard is kept: beside it, or in a folder of indices.

    Args:
        shard: Path.
        options: What else the index depends on.
        cache_dir: Such a folder; shards of one name in different folders do not meet there.
    """
    name = osp.basename(shard)
    if options:
        name += '.' + hashlib.sha256(options.encode()).hexdigest()[:8]
    if cache_dir is None:
        return osp.join(osp.dirname(shard), name + SUFFIX)
    where = shard if '://' in shard else osp.abspath(shard)
    folder = hashlib.sha256(osp.dirname(where).encode()).hexdigest()[:8]
    return osp.join(cache_dir, f'{folder}.{name}{SUFFIX}')


def cached_index(
    files: Sequence[str],
    build: Callable[..., ShardIndex],
    access: ShardFiles,
    options: str = '',
    cache_dir: str | None = None,
) -> ShardIndex:
    """The index of a shard: as it was kept if the files are still the same, else a new one.

    Local files are the same if their sizes and times of modification are. Of remote ones neither is
    known, so their index holds until it is removed; it is looked for in ``cache_dir``, then beside
    the shard, and only then is the shard fetched. A folder that cannot be written to is warned of
    and does without a kept index.

    Args:
        files: The shard, and other files that the index depends on.
        build: Makes the index; gets local paths of the files.
        access: To the files; learns the sizes of remote ones.
        options: What else the index depends on.
        cache_dir: See ``index_path``; needed for remote files.

    Raises:
        OSError: A shard cannot be read or fetched; with its path.
    """
    path = index_path(files[0], options, cache_dir)
    if not access.is_local(files[0]):
        # among the processes of a machine one makes it; cache_dir need not be writable for that
        with locked(f'{access.copy_path(files[0])}.index'):
            return _index_of_remote(path, files, build, access, options)
    state = _state(options, files)
    found = _load(path, files, lambda kept: kept == state)
    if found is not None:
        return found[0]
    index = _built(build, files)
    _keep(path, index, state, files[0])
    return index


def _index_of_remote(
    path: str,
    files: Sequence[str],
    build: Callable[..., ShardIndex],
    access: ShardFiles,
    options: str,
) -> ShardIndex:
    def fits(state: list) -> bool:
        return state[:2] == [_VERSION, options] and len(state[2]) == len(files)

    found = _load(path, files, fits)
    if found is None:
        beside = index_path(files[0], options, None)
        with suppress(OSError):
            found = _load(beside, files, fits, access.get(beside, tries=1))
        if found is not None:
            _keep(path, *found, files[0])
    if found is None:
        with ExitStack() as stack:
            copies = [stack.enter_context(access.held(file)) for file in files]
            found = _built(build, copies), _state(options, copies)
        _keep(path, *found, files[0])
    index, (_, _, stats) = found
    access.sizes.update((file, size) for file, (size, _) in zip(files, stats))
    return index


def _built(build: Callable[..., ShardIndex], files: Sequence[str]) -> ShardIndex:
    try:
        return build(*files)
    except OSError as error:
        if error.filename is not None:
            raise
        # of a disk that fails: only opening a file tells its name
        reason = error.strerror or str(error)
        raise OSError(error.errno, f'{" or ".join(files)} cannot be read: {reason}') from error


def _state(options: str, files: Sequence[str]) -> list:
    stats = [os.stat(file) for file in files]
    return [_VERSION, options, [[stat.st_size, stat.st_mtime_ns] for stat in stats]]


def _load(
    path: str, files: Sequence[str], fits: Callable[[list], bool], content: bytes | None = None
) -> tuple[ShardIndex, list] | None:
    """An index that was kept, and the state of its files; None if it is to be rebuilt."""
    if content is None and not osp.isfile(path):
        return None
    try:
        arrays = read_npz(path, 'index', content=content)
        with naming_damage(path, 'index'):
            state = json.loads(str(arrays['state']))
            if not isinstance(state, list) or state[0] != _VERSION or not fits(state):
                return None
            return _checked(arrays, state, len(files)), state
    except (OSError, ValueError, MemoryError) as error:
        print_log(
            f'{" ".join(str(error).split())} The index of {files[0]} is rebuilt.',
            logger='current',
            level=logging.WARNING,
        )
        return None


def _checked(arrays: dict[str, np.ndarray], state: list, number: int) -> ShardIndex:
    """Refuse what no index can say, whoever wrote it.

    Raises:
        ValueError, TypeError, KeyError: It says such things.
    """
    index = ShardIndex(*(arrays[key] for key in ('names', 'images', 'texts', 'is_json')))
    broken, index.damage = json.loads(str(arrays['problems']))
    index.broken = [(key, reason) for key, reason in broken]
    rows = len(index)
    sizes = [size for size, _ in state[2]]
    texts = [text for pair in [*index.broken, (index.damage, '')] for text in pair]
    sound = (
        len(sizes) == number
        and index.names.dtype.kind == 'S'
        and index.is_json.shape == (rows,)
        and index.is_json.dtype == bool
        and all(isinstance(text, str) for text in texts)
        and _within(index.images, rows, sizes[0])
        and _within(index.texts, rows, sizes[-1])
    )
    if not sound:
        raise ValueError('its values cannot be those of these files')
    return index


def _within(places: np.ndarray, rows: int, size: Any) -> bool:
    if places.shape != (rows, 2) or places.dtype != np.int64:
        return False
    offsets, lengths = places.T
    return bool(
        (places >= 0).all() and (lengths <= size).all() and (offsets <= size - lengths).all()
    )


def _keep(path: str, index: ShardIndex, state: list, shard: str) -> None:
    try:
        with write_whole(path, 'Give the dataset a cache_dir that can be written to') as unfinished:
            with open(unfinished, 'wb') as file:
                np.savez(
                    file,
                    names=index.names,
                    images=index.images,
                    texts=index.texts,
                    is_json=index.is_json,
                    problems=np.array(json.dumps([index.broken, index.damage])),
                    state=np.array(json.dumps(state)),
                )
    except OSError as error:
        folder = osp.dirname(path)
        if folder not in _folders_warned_of:
            print_log(
                f'The index of {shard} cannot be kept: {error} Those of this folder are rebuilt '
                'in every run.',
                logger='current',
                level=logging.WARNING,
            )
        _folders_warned_of.add(folder)
