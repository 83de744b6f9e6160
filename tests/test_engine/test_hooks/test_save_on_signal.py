# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Signals: the iteration is finished, a checkpoint written, and the run goes on from it exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner

from helpers import toy_training
from helpers.tool_processes import assert_continued, forget_diaries, start, write
from regionclip_mmdet.engine.hooks import SaveOnSignalHook, StoppedBySignal

SAVE = dict(type='SaveOnSignalHook')


@DATASETS.register_module()
class SlowPoints(toy_training.NoisyPoints):
    """So that a worker is at work whenever a signal comes."""

    def __getitem__(self, index: int) -> dict:
        time.sleep(0.3)
        return super().__getitem__(index)


def hooks(*more: dict) -> list[dict]:
    return [*toy_training.config()['custom_hooks'], SAVE, *more]


def runner(folder: Path, *more: dict, **changes: Any) -> Runner:
    name = str(folder).replace('/', '_') + str(time.monotonic_ns())
    changes = dict(work_dir=str(folder), experiment_name=name, custom_hooks=hooks(*more)) | changes
    return Runner.from_cfg(Config(toy_training.config(**changes)))


def stopped(made: Runner) -> StoppedBySignal:
    with pytest.raises(StoppedBySignal) as found:
        made.train()
    assert found.value.code == 128 + signal.SIGTERM == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    return found.value


def checkpoints(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob('*.pth'))


@pytest.fixture(autouse=True)
def default_handlers() -> Any:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_as_if_never_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runner(tmp_path / 'a').train()
    made = runner(tmp_path / 'b', dict(type='SignalHook', iteration=6))
    stopped(made)
    log = next((tmp_path / 'b').glob('*/*.log')).read_text()
    assert f'SIGTERM: {tmp_path}/b/iter_6.pth is written. This run ends here with exit' in log
    assert checkpoints(tmp_path / 'b') == ['iter_4.pth', 'iter_6.pth']
    assert (tmp_path / 'b' / 'last_checkpoint').read_text() == f'{tmp_path}/b/iter_6.pth'
    assert sorted(toy_training.diary(tmp_path / 'b')) == list(range(6))
    forget_diaries(tmp_path / 'b')
    runner(tmp_path / 'b', resume=True).train()
    assert_continued(tmp_path / 'a', tmp_path / 'b', 1, {6})


def test_within_an_epoch(tmp_path: Path) -> None:
    changes = dict(
        train_cfg=dict(type='ResumableEpochTrainLoop', max_epochs=4, val_interval=2),
        param_scheduler=None,
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1)),
        train_dataloader=toy_training.config()['train_dataloader']
        | dict(sampler=dict(type='DefaultSampler', shuffle=True)),
    )
    runner(tmp_path / 'a', **changes).train()
    stopped(runner(tmp_path / 'b', dict(type='SignalHook', iteration=9), **changes))
    assert checkpoints(tmp_path / 'b') == ['epoch_1.pth', 'iter_9.pth']
    forget_diaries(tmp_path / 'b')
    runner(tmp_path / 'b', resume=True, **changes).train()
    one, other = (toy_training.diary(tmp_path / name) for name in 'ab')
    assert sorted(other) == list(range(9, 24))  # 11 samples: 6 batches an epoch
    assert all(other[i] == one[i] for i in other)


def test_a_checkpoint_of_the_same_iteration_is_not_written_twice(tmp_path: Path) -> None:
    saved = []
    made = runner(tmp_path, dict(type='SignalHook', iteration=8))
    save = made.save_checkpoint
    made.save_checkpoint = lambda *args, **kwargs: (saved.append(args[1]), save(*args, **kwargs))
    stopped(made)
    assert saved == ['iter_4.pth', 'iter_8.pth']


def test_workers_get_the_signal_too(tmp_path: Path) -> None:
    """No batch comes any more: the last finished iteration is what is saved."""
    loader = dict(
        toy_training.config()['train_dataloader'],
        num_workers=1,
        prefetch_factor=1,
        dataset=dict(type='SlowPoints'),
    )
    late = dict(type='SignalHook', iteration=3, after=True, workers=True)
    stopped(runner(tmp_path, late, train_dataloader=loader))
    assert checkpoints(tmp_path) == ['iter_3.pth']
    assert sorted(toy_training.diary(tmp_path)) == [0, 1, 2]


def test_during_validation_one_iteration_more_is_trained(tmp_path: Path) -> None:
    made = runner(tmp_path)
    made.call_hook = signal_in_validation(made.call_hook)
    stopped(made)
    assert checkpoints(tmp_path) == ['iter_4.pth', 'iter_8.pth', 'iter_9.pth']


def signal_in_validation(call_hook: Any) -> Any:
    def call(name: str, **kwargs: Any) -> None:
        if name == 'before_val_epoch':
            os.kill(os.getpid(), signal.SIGTERM)
        call_hook(name, **kwargs)

    return call


def test_a_run_that_ends_listens_no_more(tmp_path: Path) -> None:
    runner(tmp_path).train()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_children_and_forgotten_runs_die_as_they_would(tmp_path: Path) -> None:
    code = (
        'import os, signal, time\n'
        'from regionclip_mmdet.engine.hooks import SaveOnSignalHook\n'
        'hook = SaveOnSignalHook()\n'
        'class Run: pass\n'
        'run = Run()\n'
        'hook.before_train(run)\n'
        'child = os.fork()\n'
        'if child == 0:\n'
        '    [time.sleep(0.1) for _ in range(300)]\n'
        # a signal right after fork is lost
        'time.sleep(0.5)\n'
        'os.kill(child, signal.SIGTERM)\n'
        'print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n'
        'os.kill(os.getpid(), signal.SIGTERM)\n'
        'print(hook.received, flush=True)\n'
        'del run\n'
        'os.kill(os.getpid(), signal.SIGTERM)\n'
        'print("still here")\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    # the last words: OneDL's packages greet first
    assert done.stdout.split()[-2:] == ['-15', '15'] and done.returncode == -15, done.stderr


def test_unknown_signals() -> None:
    with pytest.raises(ValueError, match='this system has no SIGNONSENSE'):
        SaveOnSignalHook(signals=['SIGTERM', 'SIGNONSENSE'])


def test_other_threads_are_told(tmp_path: Path) -> None:
    made = runner(tmp_path)
    thread = threading.Thread(target=made.train)
    thread.start()
    thread.join()
    assert made.iter == 20
    assert 'signals reach the main thread alone' in next(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_the_tool(tmp_path: Path, processes: int) -> None:
    """One process hears the signal, all of them stop."""
    straight = write(tmp_path / 'straight.py')
    told = dict(type='SignalHook', iteration=6, rank=processes - 1)
    stops = write(tmp_path / 'stops.py', custom_hooks=hooks(told))
    folders = tmp_path / 'a', tmp_path / 'b'
    assert start(straight, folders[0], processes)[0] == 0
    code, output = start(stops, folders[1], processes)
    # torchrun tells of its processes' exit codes and ends with its own
    assert code == (143 if processes == 1 else 1), output[-3000:]
    assert f'SIGTERM: {folders[1]}/iter_6.pth is written' in output
    assert not list(folders[1].glob('*.lock'))  # free for the next
    assert processes == 1 or 'exitcode  : 143' in output
    forget_diaries(folders[1])
    assert start(straight, folders[1], processes, '--resume')[0] == 0
    assert_continued(*folders, processes, {6})
