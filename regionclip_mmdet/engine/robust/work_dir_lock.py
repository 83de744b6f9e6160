# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One run at a time in a work dir: a file that says whose it is."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ...fileio import naming_write_errors, write_text

LOCK_FILE = 'training.lock'
# Seconds between two signs of life of a run, and how long another one waits for the next.
RENEWED_EVERY = 10.0
WATCHED_FOR = 60.0
_REMEDY = 'Make room there, or name another work_dir'

# The locks of this process, by folder.
_held: dict[str, WorkDirLock] = {}


class WorkDirInUseError(RuntimeError):
    """Another run writes in this work dir."""


class WorkDirLock:
    """A work dir that is this process's until ``release``, or until the process ends.

    ``training.lock`` holds host, process id and start of the process, and is touched every
    ``RENEWED_EVERY`` seconds. What another process left behind is taken over:

    * on this machine, when its process is gone, or its id has passed to another one;
    * of another machine (or container), when it is not touched for ``WATCHED_FOR`` seconds, which
      the newcomer waits. No clocks are compared.

    Args:
        folder: Path of the work dir; created if it is not there.
        say: Called with a sentence on a lock that is waited for or taken over.

    Raises:
        WorkDirInUseError: A living process holds it.
        OSError: The folder cannot be written; names it.
    """

    def __init__(self, folder: str | os.PathLike, say: Callable[[str], None] = print) -> None:
        self.path = Path(folder) / LOCK_FILE
        self._me = _this_process()
        self._end = threading.Event()
        with naming_write_errors(self.path, _REMEDY):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire(say)
        threading.Thread(target=self._renew, name='work dir lock', daemon=True).start()

    def check(self) -> None:
        """Make sure that it is still this process's.

        Raises:
            WorkDirInUseError: Another one has taken it over, as this one gave no sign of life.
        """
        owner = _read(self.path)
        if owner is not None and owner != self._me:
            raise WorkDirInUseError(
                f'{_describe(owner)} has taken over the work dir {self.path.parent} while this '
                f'process ({os.getpid()}) gave no sign of life. Nothing more is written there.'
            )

    def release(self) -> None:
        """Let others have the folder."""
        _held.pop(os.path.realpath(self.path.parent), None)
        self._end.set()
        if os.getpid() == self._me['pid'] and _read(self.path) == self._me:
            self.path.unlink(missing_ok=True)

    def _acquire(self, say: Callable[[str], None]) -> None:
        while not self._create():
            owner = _read(self.path)
            if owner is None:
                continue  # it was released meanwhile
            if _is_here(owner):
                left = not _is_alive(owner)
            else:
                say(
                    f'{self.path}: {_describe(owner)}. Waiting for up to {WATCHED_FOR:.0f} s '
                    'whether it gives a sign of life.'
                )
                left = not _is_renewed(self.path)
            if not left:
                raise WorkDirInUseError(
                    f'The work dir {self.path.parent} is in use: {_describe(owner)} trains there, '
                    'and two runs would overwrite each other. Name another work_dir '
                    '(tools/train.py: --work-dir), or end that run first. If it is gone for '
                    f'certain, remove {self.path}.'
                )
            say(f'{self.path} was left behind by {_describe(owner)}: taken over.')
            write_text(self.path, json.dumps(self._me), _REMEDY)
            time.sleep(0.2)  # another newcomer may have done the same at the same moment
            if _read(self.path) == self._me:
                return

    def _create(self) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, json.dumps(self._me).encode())
        except OSError:
            self.path.unlink()
            raise
        finally:
            os.close(handle)
        return True

    def _renew(self) -> None:
        while not self._end.wait(RENEWED_EVERY):
            try:
                if _read(self.path) == self._me:
                    os.utime(self.path)
            except OSError:  # a file system that does not answer: the next time
                pass


@contextmanager
def held_work_dir(
    folder: str | os.PathLike, is_wanted: bool = True, say: Callable[[str], None] = print
) -> Iterator[None]:
    """Hold a work dir, unless this process does so already; see ``WorkDirLock``.

    Args:
        folder: Path of the work dir.
        is_wanted: Whether this process is the one to do so: the first of a run.
        say: Called with a sentence on a lock that is waited for or taken over.
    """
    lock = hold(folder, say) if is_wanted else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def hold(folder: str | os.PathLike, say: Callable[[str], None] = print) -> WorkDirLock | None:
    """Hold a work dir until ``release`` or the end of the process; None: held already."""
    key = os.path.realpath(folder)
    if key in _held and _held[key]._me['pid'] == os.getpid():
        return None
    _held[key] = WorkDirLock(folder, say)
    return _held[key]


def check_holder(path: str | os.PathLike) -> None:
    """Refuse to write a file into a folder that another process has taken over from this one.

    Raises:
        WorkDirInUseError: See ``WorkDirLock.check``.
    """
    parents = Path(os.path.realpath(path)).parents
    for folder, lock in list(_held.items()):
        if Path(folder) in parents and lock._me['pid'] == os.getpid():
            lock.check()


@atexit.register
def _release_all() -> None:
    for lock in list(_held.values()):
        lock.release()


def _this_process() -> dict[str, Any]:
    return dict(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=datetime.now().isoformat(sep=' ', timespec='seconds'),
        machine=_machine(),
        born=_state_and_birth(os.getpid())[1],
        token=secrets.token_hex(8),
    )


def _machine() -> str:
    """Where process ids mean the same: this start of this machine, and this container."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    except OSError:  # not on Linux
        return ''


def _state_and_birth(pid: int) -> tuple[str, str]:
    """State of a process and when it began, in ticks since the machine's start; '' unknown."""
    try:
        # the name of the program, in parentheses, may hold anything
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return '', ''


def _is_here(owner: dict[str, Any]) -> bool:
    return owner.get('host') == socket.gethostname() and owner.get('machine') == _machine()


def _is_alive(owner: dict[str, Any]) -> bool:
    pid = owner['pid']
    if pid == os.getpid():
        return False  # of this process's parent, or forgotten by this one
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    state, born = _state_and_birth(pid)
    return state not in ('Z', 'X') and born == owner.get('born')


def _is_renewed(path: Path) -> bool:
    """Watch a lock; whether it is touched, or replaced."""
    before = _stamp(path)
    end = time.monotonic() + WATCHED_FOR
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCHED_FOR / 10))
        if (now := _stamp(path)) != before:
            return now is not None
    return False


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        with open(path, 'rb') as file:  # opened: network file systems remember times otherwise
            found = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def _read(path: Path) -> dict[str, Any] | None:
    """Whose lock it is; None: there is none; empty: not known."""
    try:
        owner = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    known = isinstance(owner, dict) and type(owner.get('pid')) is int and owner['pid'] > 0
    return owner if known else {}


def _describe(owner: dict[str, Any]) -> str:
    if not owner:
        return 'an unknown process'
    return f'process {owner["pid"]} on {owner.get("host")} (since {owner.get("started")})'
