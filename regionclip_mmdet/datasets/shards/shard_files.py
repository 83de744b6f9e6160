# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shards that may lie elsewhere, as local files: in place, or copies in a limited folder."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import logging
import os
import os.path as osp
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.fileio.backends import BaseStorageBackend
from mmengine.logging import print_log

from ...fileio import UNFINISHED, write_whole
from .pieces import PieceReader

SUFFIX = '.lock'


@contextmanager
def lock_file(path: str) -> Iterator[int]:
    """A handle of the lock file beside a path, for ``fcntl.flock``; the end lets go of it.

    The kernel lets go, too, when a process is killed. Lock files are never removed: another
    process may be waiting for one.
    """
    handle = os.open(path + SUFFIX, os.O_RDWR | os.O_CREAT | getattr(os, 'O_CLOEXEC', 0), 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Wait until no other process is in here with this path."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with lock_file(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def try_lock(handle: int) -> bool:
    """Lock for this process alone, unless another one has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# What an interrupted process leaves behind of a copy, with random characters before it.
_PART = re.compile(rf'(\.\w{{8}})?{re.escape(UNFINISHED)}$')
# Nothing else in the folder is ever removed.
_COPY = re.compile(r'[0-9a-f]{16}\..*(?<!\.lock)')
TRIES = 3
# Seconds: after a failure a shard is not asked for again; a copy needed again so soon should stay.
REST = 60.0


class ShardFiles:
    """Access to shards through mmengine's file backends.

    Those backends read whole files, so a shard that is not local is fetched as a whole when
    something of it is wanted, once for all processes of the machine, into a folder; copies that
    were not used for longest make room for new ones. Files must not change where they lie.

    Args:
        backend_args: mmengine file backend; None: by the prefix of each path (``s3://``).
        copy_dir: Folder for the copies, on a local disk. Several runs may share it.
        copy_gb: All copies in it together have at most so many GB (1e9 bytes); for moments more
            by what other processes are writing.

    Attributes:
        sizes: Bytes of remote shards as they were indexed.
    """

    def __init__(
        self,
        backend_args: dict[str, Any] | None = None,
        copy_dir: str | None = None,
        copy_gb: float = 100.0,
    ) -> None:
        self.backend_args = backend_args
        self.copy_dir = copy_dir
        self.copy_gb = copy_gb
        self.sizes: dict[str, int] = {}
        self._local: dict[str, bool] = {}
        self._reader = PieceReader()
        self._failures: dict[str, tuple[float, str]] = {}
        self._last_use: dict[str, float] = {}
        self._warned = False

    def backend(self, path: str) -> BaseStorageBackend:
        """A new backend: clients of object stores do not survive a fork.

        Raises:
            ValueError: No backend has the path's prefix.
        """
        try:
            return get_file_backend(path, backend_args=self.backend_args)
        except KeyError:
            raise ValueError(
                f'{path}: mmengine has no file backend of this prefix. Register one, or name one '
                "in backend_args=dict(backend='...')."
            ) from None

    def is_local(self, path: str) -> bool:
        """Whether a file is read where it lies."""
        prefix = path.partition('://')[0] if '://' in path else ''
        if prefix not in self._local:
            self._local[prefix] = isinstance(self.backend(path), LocalBackend)
            if not self._local[prefix] and self.copy_dir is None:
                raise ValueError(
                    f'{path} is not local: give the dataset copy_dir, a folder on a local disk '
                    'for copies of shards (copy_gb limits it).'
                )
        return self._local[prefix]

    def size(self, path: str) -> int:
        """Bytes of a shard whose index was read."""
        return os.stat(path).st_size if self.is_local(path) else self.sizes[path]

    def read(self, path: str, offset: int, length: int) -> bytes:
        """A piece of a shard.

        Raises:
            OSError: It cannot be read or fetched, or is shorter, or not the file that was indexed.
        """
        if self.is_local(path):
            return self._reader.read(path, offset, length)
        with self.held(path) as copy:
            # kept open, it would take room after its removal
            return PieceReader(max_open=0).read(copy, offset, length)

    @contextmanager
    def held(self, path: str) -> Iterator[str]:
        """A local path of a shard, which stays for the time of the context.

        Raises:
            OSError: The shard cannot be fetched, or is not the file that was indexed.
            ValueError: It alone is larger than ``copy_gb``.
        """
        if self.is_local(path):
            yield path
            return
        copy = self.copy_path(path)
        os.makedirs(osp.dirname(copy), exist_ok=True)
        with lock_file(copy) as handle:
            while True:
                fcntl.flock(handle, fcntl.LOCK_SH)
                if self._is_there(path, copy):
                    break
                # others may get in between: look again
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not self._is_there(path, copy):
                    self._fetch(path, copy)
            self._last_use[path] = time.monotonic()
            yield copy

    def copy_path(self, path: str) -> str:
        """Where the copy of a remote shard is."""
        name = osp.basename(path.partition('?')[0])
        return osp.join(self.copy_dir, f'{hashlib.sha256(path.encode()).hexdigest()[:16]}.{name}')

    def get(self, path: str, tries: int = TRIES) -> bytes:
        """Content of a remote file.

        Raises:
            OSError: It cannot be read.
        """
        when, why = self._failures.get(path, (-REST, ''))
        if time.monotonic() - when < REST:
            raise OSError(why)
        for attempt in range(1, tries + 1):
            try:
                return self.backend(path).get(path)
            except Exception as error:  # each backend has errors of its own
                if attempt < tries:
                    time.sleep(2.0 ** (attempt - 1))
                    continue
                why = f'{path} cannot be fetched ({type(error).__name__}: {error})'
                self._failures[path] = (time.monotonic(), why)
                raise OSError(why) from error
        raise AssertionError

    def _is_there(self, path: str, copy: str) -> bool:
        try:
            os.utime(copy)  # used now
            return os.stat(copy).st_size == self.sizes.get(path, os.stat(copy).st_size)
        except FileNotFoundError:
            return False

    def _fetch(self, path: str, copy: str) -> None:
        if not self._warned and time.monotonic() - self._last_use.get(path, -REST) < REST:
            self._warned = True
            print_log(
                f'{path} is fetched again within a minute: copy_gb={self.copy_gb} is less than the '
                'shards in use. Raise it, or lower buffer_shards of ShardSampler.',
                logger='current',
                level=logging.WARNING,
            )
        content = self.get(path)
        if len(content) != self.sizes.get(path, len(content)):
            raise OSError(
                f'{path} has {len(content)} bytes, but had {self.sizes[path]} when it was indexed. '
                'If it was changed, remove its index.'
            )
        if len(content) > self.copy_gb * 1e9:
            raise ValueError(f'{path} has {len(content)} bytes, more than copy_gb={self.copy_gb}.')
        self._make_room(len(content))
        for left_behind in glob.glob(f'{glob.escape(copy)}*{UNFINISHED}'):  # nobody else is here
            os.unlink(left_behind)
        remedy = 'Free some space, lower copy_gb, or name another copy_dir'
        with write_whole(copy, remedy, suffix='') as unfinished:
            unfinished.write_bytes(content)

    def _make_room(self, wanted: int) -> None:
        """Remove copies that nobody is reading, those not used for longest first."""
        found = []
        with os.scandir(self.copy_dir) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    # what an interrupted process left behind counts, too, and goes when it is old
                    if _COPY.fullmatch(entry.name):
                        state = entry.stat()
                        found.append((state.st_mtime_ns, state.st_size, entry.path))
        total = sum(size for _, size, _ in found) + wanted
        for _, size, path in sorted(found):
            if total <= self.copy_gb * 1e9:
                return
            with lock_file(_PART.sub('', path)) as handle:
                if try_lock(handle):
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                    total -= size
