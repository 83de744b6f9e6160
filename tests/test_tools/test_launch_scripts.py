# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The shell scripts that start several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from helpers import toy_training
from helpers.devices import require_one_each

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    variables = dict(
        os.environ,
        PYTHON=sys.executable,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        OMP_NUM_THREADS='1',
        OMP_WAIT_POLICY='PASSIVE',
    )
    for name in ('PORT', 'MASTER_PORT', 'NNODES', 'SLURM_JOB_ID'):
        variables.pop(name, None)
    return subprocess.run(
        ['bash', str(TOOLS / script), *map(str, arguments)],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ('script', 'needed'),
    [
        ('dist_train.sh', 'CONFIG PROCESSES'),
        ('dist_test.sh', 'CONFIG CHECKPOINT PROCESSES'),
        ('slurm_train.sh', 'PARTITION JOB_NAME CONFIG WORK_DIR'),
        ('slurm_test.sh', 'PARTITION JOB_NAME CONFIG CHECKPOINT'),
    ],
)
def test_usage(script: str, needed: str) -> None:
    result = run(script, 'one')
    assert result.returncode == 2 and needed in result.stderr
    assert os.access(TOOLS / script, os.X_OK)


def test_two_processes_train_and_test(tmp_path: Path, device: torch.device) -> None:
    require_one_each(2, device)
    config = tmp_path / 'toy.py'
    Config(toy_training.config()).dump(config)
    result = run(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'run',
        '--cfg-options', 'default_hooks.checkpoint.interval=10',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert all(len(toy_training.diary(tmp_path / 'run', rank)) == 20 for rank in (0, 1))
    assert not (tmp_path / 'run' / 'iter_4.pth').exists()
    weights = tmp_path / 'run' / 'iter_20.pth'
    # mmengine saves the moving average, which is what is tested, as the model's weights
    state = torch.load(weights, map_location='cpu', weights_only=False)['state_dict']
    slope = state['line.weight'].sum()
    result = run('dist_test.sh', config, weights, 2, '--work-dir', tmp_path / 'test')
    assert result.returncode == 0, result.stderr[-3000:]
    # 11 samples on two processes: the twelfth, drawn to make them even, is not counted
    assert f'slope: {slope:.4f}  count: 11 ' in result.stdout + result.stderr


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, '--standalone'),
        (dict(PORT='1234'), '--nnodes 1 --node_rank 0 --master_addr 127.0.0.1 --master_port 1234'),
        (dict(MASTER_PORT='1235'), '--master_addr 127.0.0.1 --master_port 1235'),
        (dict(PORT='1234', MASTER_PORT='1235'), '--master_port 1234'),
        (
            dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='a'),
            '--nnodes 2 --node_rank 1 --master_addr a --master_port 29500',
        ),
        (dict(NNODES='2', SLURM_JOB_ID='1251'), '--master_port 12016'),
    ],
)
def test_where_processes_meet(tmp_path: Path, variables: dict, expected: str) -> None:
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    result = run('dist_train.sh', 'a config.py', 2, '--amp', PYTHON=str(python), **variables)
    words = result.stdout.splitlines()
    place = words.index(f'{TOOLS}/train.py')
    assert f'{expected} --nproc_per_node 2' in ' '.join(words[:place])
    assert words[place + 1 :] == ['a config.py', '--launcher', 'pytorch', '--amp']


@pytest.mark.parametrize(
    ('script', 'kind'), [('slurm_train.sh', 'train'), ('slurm_test.sh', 'test')]
)
def test_slurm(tmp_path: Path, script: str, kind: str) -> None:
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    result = run(
        script, 'gpu', 'job', 'a config.py', 'last', '--cfg-options', 'a.b=1',
        PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='4', SRUN_ARGS='--time 1:00 -x bad',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    words = result.stdout.splitlines()
    assert words[:2] == ['-p', 'gpu'] and '--job-name=job' in words
    assert {'--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4'} <= set(words)
    assert words[words.index('--time') : words.index('--time') + 4] == [
        '--time',
        '1:00',
        '-x',
        'bad',
    ]
    place = words.index(f'{TOOLS}/{kind}.py')
    given = ['a config.py', '--work-dir', 'last'] if kind == 'train' else ['a config.py', 'last']
    assert words[place + 1 :] == [*given, '--launcher', 'slurm', '--cfg-options', 'a.b=1']
