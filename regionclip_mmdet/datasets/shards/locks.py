# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Locks among the processes of a machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
