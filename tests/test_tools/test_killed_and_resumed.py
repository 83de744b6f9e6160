# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/train.py`` killed without warning, then resumed: as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_training
from devices import require_one_each
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]


def start(config: Path, work_dir: Path, processes: int, *arguments: str) -> int:
    """Run the tool to its end, whatever that is; returns the exit code."""
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        OMP_NUM_THREADS='1',
        OMP_WAIT_POLICY='PASSIVE',
    )
    command = [sys.executable]
    if processes > 1:
        command += ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    command += ['tools/train.py', str(config), '--work-dir', str(work_dir), *arguments]
    if processes > 1:
        command += ['--launcher', 'pytorch']
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, timeout=300
    ).returncode


def write(path: Path, **changes: object) -> Path:
    Config(toy_training.config(**changes)).dump(path)
    return path


SAMPLERS = dict(
    infinite=dict(type='InfiniteSampler', shuffle=True),
    # 11 samples: each of two processes gets 6, one sample twice, so 3 batches a pass
    passes=dict(type='DefaultSampler', shuffle=True),
)


@pytest.mark.parametrize(
    ('processes', 'sampler'),
    [
        (1, 'infinite'),
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
    assert start(straight, folders[0], processes) == 0
    assert start(killed, folders[1], processes) != 0
    assert not (folders[1] / 'iter_20.pth').exists()
    for path in folders[1].glob('rank_*.jsonl'):
        path.unlink()
    assert start(straight, folders[1], processes, '--resume') == 0

    resumed_at = (killed_at - 1) // 4 * 4
    for number in range(processes):
        one, other = (toy_training.diary(folder, number) for folder in folders)
        assert sorted(one) == list(range(20))
        # rank 0 writes the checkpoint of iteration 4k in that very iteration, before it dies
        assert sorted(other) in ([*range(resumed_at, 20)], [*range(killed_at // 4 * 4, 20)])
        for i, entry in other.items():
            assert (entry['index'], entry['noise']) == (one[i]['index'], one[i]['noise'])
            assert entry['loss'] == pytest.approx(one[i]['loss'], rel=1e-5)
    ends = [
        torch.load(folder / 'iter_20.pth', map_location='cpu', weights_only=False)['state_dict']
        for folder in folders
    ]
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-5, atol=1e-6)
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
