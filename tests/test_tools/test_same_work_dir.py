# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Runs that begin where another one is, was, or has not been yet."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mmdet
import pytest
import torch

from helpers import toy_training
from helpers.tool_processes import ROOT, begin, start, write

STOCK_TRAIN = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'


def start_stock(config: Path, work_dir: Path, *arguments: str) -> tuple[int, str]:
    """Run mmdet's own tool; exit code and what it printed."""
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        OMP_NUM_THREADS='1',
    )
    command = [sys.executable, str(STOCK_TRAIN), str(config), '--work-dir', str(work_dir)]
    done = subprocess.run(
        [*command, *arguments], cwd=work_dir.parent, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_second_run_is_refused_and_a_dead_ones_place_is_taken(tmp_path: Path) -> None:
    hooks = toy_training.config()['custom_hooks']
    straight = write(tmp_path / 'toy.py')
    stalls = write(
        tmp_path / 'stalls.py', custom_hooks=[*hooks, dict(type='StallWhileWriting', iteration=8)]
    )
    folder = tmp_path / 'run'
    with begin(stalls, folder, 1) as first:
        try:
            deadline = time.monotonic() + 200
            while not (folder / 'writing').exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
            assert any('iter_8.pth' in name and 'being-written' in name for name in before)
            refusal = rf'work dir {folder} is in use: process {first.pid} on '
            code, output = start(straight, folder, 2, '--resume')  # by torchrun
            assert code == 1 and re.search(refusal, output), output
            assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
            assert first.poll() is None
        finally:
            os.kill(first.pid, signal.SIGKILL)
    (folder / 'rank_0.jsonl').unlink()
    code, output = start(straight, folder, 1, '--resume')
    assert code == 0, output[-3000:]
    assert f'left behind by process {first.pid}' in output
    assert 'which was never finished' in output
    assert sorted(toy_training.diary(folder)) == list(range(4, 20))
    assert not list(folder.glob('*.lock')) and not list(folder.glob('*being-written*'))


@pytest.mark.parametrize('tool', ['ours', 'stock'])
def test_a_first_start_with_resume_begins_with_load_from(tmp_path: Path, tool: str) -> None:
    weights = tmp_path / 'weights.pth'
    torch.save(
        dict(state_dict={'line.weight': torch.full((1, 4), 7.0), 'line.bias': torch.zeros(1)}),
        weights,
    )
    folder = tmp_path / 'run'
    config = write(
        tmp_path / 'toy.py',
        load_from=str(weights),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        param_scheduler=[],
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=4),
        val_dataloader=None,
        val_evaluator=None,
        val_cfg=None,
        custom_hooks=[],
    )
    begun = start_stock(config, folder, '--resume') if tool == 'stock' else None
    code, output = begun or start(config, folder, 1, '--resume')
    assert code == 0, output[-3000:]
    assert f'a new run begins, with the weights of load_from={weights}' in output
    trained = torch.load(folder / 'iter_4.pth', weights_only=False)['state_dict']
    assert trained['line.weight'].tolist() == [[7.0] * 4]
