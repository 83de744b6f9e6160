# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Whatever happens while a checkpoint is written, the one before stays."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import Runner

from helpers import tiny_models
from helpers.disks import mounted
from helpers.tiny_runner import PREPROCESSOR, make_runner
from regionclip_mmdet.engine.hooks import AtomicLocalBackend
from regionclip_mmdet.engine.robust.checkpoint_choice import newest_whole_checkpoint
from regionclip_mmdet.engine.robust.work_dir_lock import (
    LOCK_FILE,
    WorkDirInUseError,
    _state_and_birth,
    _this_process,
)
from regionclip_mmdet.fileio import UNFINISHED, write_whole


def disk_full(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def runner(folder: Path, max_iters: int, max_keep_ckpts: int = 1) -> Runner:
    model = MODELS.build(tiny_models.detector_config(data_preprocessor=PREPROCESSOR))
    made = make_runner(model, folder, max_iters=max_iters)
    made._hooks = [h for h in made.hooks if type(h).__name__ != 'CheckpointHook']
    made.register_hook(
        dict(type='AtomicCheckpointHook', by_epoch=False, interval=1, max_keep_ckpts=max_keep_ckpts)
    )
    return made


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if 'iter_' in p.name)


def test_bytes_and_text_are_written(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'file.txt'
    AtomicLocalBackend().put(b'one', path)
    AtomicLocalBackend().put_text('zwölf', path)
    assert path.read_text(encoding='utf-8') == 'zwölf'
    assert [p.name for p in path.parent.iterdir()] == ['file.txt']
    plain = tmp_path / 'plain'
    plain.write_text('')
    assert path.stat().st_mode == plain.stat().st_mode


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'file.pth'
    AtomicLocalBackend().put(b'old', path)
    monkeypatch.setattr(os, 'fsync', disk_full)
    with pytest.raises(
        OSError, match=r'file\.pth could not be written: No space left.*--resume'
    ) as info:
        AtomicLocalBackend().put(b'new', path)
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['file.pth']


def test_training_keeps_as_many_as_wanted(tmp_path: Path) -> None:
    runner(tmp_path, max_iters=4, max_keep_ckpts=2).train()
    assert names(tmp_path) == ['iter_3.pth', 'iter_4.pth']
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_4.pth')
    for name in names(tmp_path):
        assert torch.load(tmp_path / name, weights_only=False)['meta']['iter'] == int(name[5])


def test_the_only_checkpoint_survives_a_crash_while_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = AtomicLocalBackend.put

    def fails_on_the_second(self: AtomicLocalBackend, obj: bytes, filepath: str) -> None:
        if 'iter_2' in str(filepath):
            monkeypatch.setattr(os, 'fsync', disk_full)
        put(self, obj, filepath)

    with monkeypatch.context() as context:
        context.setattr(AtomicLocalBackend, 'put', fails_on_the_second)
        with pytest.raises(OSError, match=r'iter_2\.pth .* continue with --resume'):
            runner(tmp_path, max_iters=3).train()
    monkeypatch.undo()
    assert names(tmp_path) == ['iter_1.pth']
    assert newest_whole_checkpoint(tmp_path) == tmp_path / 'iter_1.pth'


def test_a_second_run_in_the_same_work_dir_is_refused(tmp_path: Path) -> None:
    other = json.dumps(
        _this_process() | dict(pid=os.getppid(), born=_state_and_birth(os.getppid())[1])
    )
    (tmp_path / LOCK_FILE).write_text(other)
    leftover = tmp_path / f'iter_9.pth.abc{UNFINISHED}'
    leftover.write_bytes(b'half')
    with pytest.raises(WorkDirInUseError, match=f'in use: process {os.getppid()} '):
        runner(tmp_path, max_iters=1).train()
    assert leftover.exists() and names(tmp_path) == [leftover.name]
    assert (tmp_path / LOCK_FILE).read_text() == other


@pytest.mark.parametrize('size', [4, 40], ids=['log', 'checkpoint'])
def test_training_on_a_full_disk(tmp_path: Path, size: int) -> None:
    with mounted(tmp_path / f'disk_{size}', 'size=1m') as disk:
        made = runner(disk, max_iters=1)
        free = os.statvfs(disk)
        (disk / 'other').write_bytes(bytes(max(free.f_bavail * free.f_bsize - size * 1024, 0)))
        with pytest.raises(OSError, match=f'{disk}.* could not be written: No space.*work_dir'):
            made.train()
        assert not list(disk.glob('iter_*'))


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / f'iter_9.pthabc{UNFINISHED}'
    leftover.write_bytes(b'half')
    with write_whole(tmp_path / 'iter_8.pth', suffix='') as being_written:
        runner(tmp_path, max_iters=1).train()
        assert not leftover.exists() and being_written.exists()
    assert names(tmp_path) == ['iter_1.pth', 'iter_8.pth']
