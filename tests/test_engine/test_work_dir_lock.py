# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A work dir is one run's at a time; what a dead run left is taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.disks import mounted
from regionclip_mmdet.engine.hooks import AtomicLocalBackend
from regionclip_mmdet.engine.robust import work_dir_lock
from regionclip_mmdet.engine.robust.work_dir_lock import (
    LOCK_FILE,
    WorkDirInUseError,
    WorkDirLock,
    held_work_dir,
    hold,
)


@contextmanager
def process() -> Iterator[subprocess.Popen]:
    """A living process that is not this one."""
    command = [sys.executable, '-S', '-c', 'print(flush=True); input()']
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as child:
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


def lock_of(folder: Path, pid: int, **changes: Any) -> Path:
    """The lock that another process of this machine would have made."""
    with held_work_dir(folder, say=print):
        mine = json.loads((folder / LOCK_FILE).read_text())
    born = work_dir_lock._state_and_birth(pid)[1]
    path = folder / LOCK_FILE
    path.write_text(json.dumps(mine | dict(pid=pid, born=born, token='other') | changes))
    return path


def test_held_and_given_back(tmp_path: Path) -> None:
    folder = tmp_path / 'new'
    with held_work_dir(folder):
        owner = json.loads((folder / LOCK_FILE).read_text())
        assert owner['pid'] == os.getpid() and owner['host'] and owner['started']
        assert hold(folder) is None  # once is enough
        with held_work_dir(folder):
            pass
        assert (folder / LOCK_FILE).exists()
    assert list(folder.iterdir()) == []
    with held_work_dir(tmp_path / 'other', is_wanted=False):
        assert not (tmp_path / 'other').exists()


def test_a_living_process_keeps_its_folder_and_a_dead_ones_is_taken_over(tmp_path: Path) -> None:
    with process() as other:
        path = lock_of(tmp_path, other.pid)
        before = path.read_text()
        with pytest.raises(WorkDirInUseError, match=f'{tmp_path} is in use: process {other.pid} '):
            hold(tmp_path)
        assert path.read_text() == before
        other.kill()
        while work_dir_lock._state_and_birth(other.pid)[0] != 'Z':
            time.sleep(0.01)
        said: list[str] = []  # killed, and nobody has asked for its exit code yet
        with held_work_dir(tmp_path, say=said.append):
            assert json.loads(path.read_text())['pid'] == os.getpid()
    assert f'left behind by process {other.pid}' in said[0] and not path.exists()
    lock_of(tmp_path, other.pid)
    with held_work_dir(tmp_path):
        pass


def test_an_id_that_passed_to_another_process(tmp_path: Path) -> None:
    with process() as other:
        lock_of(tmp_path, other.pid, born='12')
        with held_work_dir(tmp_path):
            pass


@pytest.mark.parametrize(
    'changes', [dict(host='elsewhere'), dict(machine='another container'), None]
)
def test_another_machine_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict | None
) -> None:
    monkeypatch.setattr(work_dir_lock, 'WATCHED_FOR', 0.5)
    # an id of a living process means nothing elsewhere, that of a dead one neither
    path = lock_of(tmp_path, os.getppid(), **changes or {})
    if changes is None:
        path.write_text('')  # written by a process that just begins, or died as it began
    end = threading.Event()

    def renew() -> None:
        while not end.wait(0.02):
            os.utime(path)

    signs_of_life = threading.Thread(target=renew)
    signs_of_life.start()
    try:
        with pytest.raises(WorkDirInUseError, match='is in use'):
            hold(tmp_path)
    finally:
        end.set()
        signs_of_life.join()
    said: list[str] = []
    with held_work_dir(tmp_path, say=said.append):
        pass
    assert 'Waiting for up to' in said[0] and 'taken over' in said[1]


def test_signs_of_life_are_given_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_dir_lock, 'RENEWED_EVERY', 0.01)
    lock = WorkDirLock(tmp_path)
    os.utime(lock.path, (1, 1))
    deadline = time.monotonic() + 60
    while lock.path.stat().st_mtime == 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lock.path.stat().st_mtime > 1
    lock.release()
    assert not lock.path.exists()


def test_a_run_that_lost_its_folder_writes_nothing_more(tmp_path: Path) -> None:
    lock = hold(tmp_path)
    try:
        AtomicLocalBackend().put(b'mine', tmp_path / 'iter_1.pth')
        with process() as other:
            theirs = json.loads(lock.path.read_text()) | dict(pid=other.pid, token='other')
            lock.path.write_text(json.dumps(theirs))
            for name in ('iter_1.pth', 'iter_2.pth/rank0.pth'):
                with pytest.raises(WorkDirInUseError, match=f'process {other.pid} .* taken over'):
                    AtomicLocalBackend().put(b'again', tmp_path / name)
    finally:
        lock.release()
    assert json.loads(lock.path.read_text()) == theirs
    assert (tmp_path / 'iter_1.pth').read_bytes() == b'mine'


@pytest.mark.parametrize('options', ['ro', 'size=4k,nr_inodes=2'])
def test_a_work_dir_that_cannot_be_written_is_named(tmp_path: Path, options: str) -> None:
    with mounted(tmp_path / 'disk', options) as disk:
        if options != 'ro':
            (disk / 'full').write_bytes(bytes(4096))
        with pytest.raises(OSError, match=f'{disk}/{LOCK_FILE} could not be written: .*work_dir'):
            hold(disk)
