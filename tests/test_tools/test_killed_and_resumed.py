# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/train.py`` killed without warning, then resumed: as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import toy_training
from helpers.devices import require_one_each
from helpers.tool_processes import assert_continued, begin, forget_diaries, start, write

SAMPLERS = dict(
    infinite=dict(type='InfiniteSampler', shuffle=True),
    # 11 samples: each of two processes gets 6, one sample twice, so 3 batches a pass
    passes=dict(type='DefaultSampler', shuffle=True),
)


@pytest.mark.parametrize(
    ('processes', 'sampler'),
    [
        pytest.param(1, 'infinite', marks=pytest.mark.slow),
        (2, 'infinite'),
        pytest.param(2, 'passes', marks=pytest.mark.slow),
        pytest.param(1, 'passes', marks=pytest.mark.slow),
    ],
)
def test_as_if_never_killed(
    tmp_path: Path, processes: int, sampler: str, device: torch.device
) -> None:
    require_one_each(processes, device)
    loader = toy_training.config()['train_dataloader'] | dict(sampler=SAMPLERS[sampler])
    rng = np.random.default_rng([processes, list(SAMPLERS).index(sampler)])
    # not before the first checkpoint (iteration 4), not after the last iteration
    killed_at, rank = int(rng.integers(5, 20)), int(rng.integers(processes))
    hooks = toy_training.config()['custom_hooks']
    straight = write(tmp_path / 'straight.py', train_dataloader=loader)
    killed = write(
        tmp_path / 'killed.py',
        train_dataloader=loader,
        custom_hooks=[*hooks, dict(type='KillHook', iteration=killed_at, rank=rank)],
    )
    folders = tmp_path / 'a', tmp_path / 'b'
    assert start(straight, folders[0], processes)[0] == 0
    assert start(killed, folders[1], processes)[0] != 0
    assert not (folders[1] / 'iter_20.pth').exists()
    forget_diaries(folders[1])
    assert start(straight, folders[1], processes, '--resume')[0] == 0
    # rank 0 writes the checkpoint of iteration 4k in that very iteration, before it dies
    resumed_at = {(killed_at - 1) // 4 * 4, killed_at // 4 * 4}
    assert_continued(*folders, processes, resumed_at)
    if processes == 2:
        indices = [toy_training.diary(folders[0], number)[0]['index'] for number in (0, 1)]
        assert indices[0] != indices[1]
    if (processes, sampler) == (2, 'passes'):
        first_pass = [
            sum((toy_training.diary(folders[0], n)[i]['index'] for i in range(3)), [])
            for n in (0, 1)
        ]
        # the rule at the end of a pass: all samples, the first one twice to make both ranks even
        assert sorted(set(first_pass[0] + first_pass[1])) == list(range(11))
        assert len(first_pass[0]) == len(first_pass[1]) == 6


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 3])
def test_a_group_killed_in_the_middle_of_a_write(tmp_path: Path, processes: int) -> None:
    hooks = toy_training.config()['custom_hooks']
    straight = write(tmp_path / 'straight.py')
    stalls = write(
        tmp_path / 'stalls.py', custom_hooks=[*hooks, dict(type='StallWhileWriting', iteration=12)]
    )
    folders = tmp_path / 'a', tmp_path / 'b'
    assert start(straight, folders[0], processes)[0] == 0
    with begin(stalls, folders[1], processes) as launcher:
        deadline = time.monotonic() + 200
        while not (folders[1] / 'writing').exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        pids = [int((folders[1] / f'pid_{rank}').read_text()) for rank in range(processes)]
        for pid in [launcher.pid, *pids]:
            os.kill(pid, signal.SIGKILL)
    (leftover,) = folders[1].glob('iter_12.pth*')
    assert leftover.name.endswith('.being-written') and leftover.stat().st_size > 0
    forget_diaries(folders[1])
    code, output = start(straight, folders[1], processes, '--resume')
    assert code == 0, output[-3000:]
    assert 'which was never finished' in output and not leftover.exists()
    assert_continued(*folders, processes, {8})
