# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A detector trained and resumed by ``tools/train.py`` on either device, in each precision."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
ITERATIONS, RESUMED_AT = 4, 2

LONGER = """
_base_ = [{base!r}]
train_cfg = dict(type='ResumableIterTrainLoop', max_iters=4)
default_hooks = dict(checkpoint=dict(
    _delete_=True, type='AtomicCheckpointHook', by_epoch=False, interval=2))
"""
OPTIONS = dict(
    float32=(),
    # so small a first scale that no update is left out for its overflow
    float16=(
        '--amp',
        '--cfg-options',
        'optim_wrapper.dtype=float16',
        'optim_wrapper.loss_scale.init_scale=128.0',
    ),
    bfloat16=('--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16'),
)


def train(config: Path, work_dir: Path, *arguments: str) -> dict[int, dict[str, float]]:
    """Run the tool; what it logged, by iteration."""
    command = [sys.executable, 'tools/train.py', str(config), '--work-dir', str(work_dir)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    return {entry['step']: entry for entry in map(json.loads, log.read_text().splitlines())}


def losses(entry: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in entry.items() if 'loss' in key}


# --amp is refused on CPUs
ON_CPU = [pytest.param('cpu', 'float32')]
ON_GPU = [pytest.param('cuda', precision, marks=pytest.mark.gpu) for precision in OPTIONS]


@pytest.mark.parametrize(('device', 'precision'), ON_CPU + ON_GPU, indirect=['device'])
def test_resumed_as_if_never_stopped(
    precision: str, device: torch.device, transfer_config: Path, tmp_path: Path
) -> None:
    config = tmp_path / 'longer.py'
    config.write_text(LONGER.format(base=str(transfer_config)))
    straight = train(config, tmp_path / 'straight', *OPTIONS[precision])
    assert sorted(straight) == list(range(1, ITERATIONS + 1))
    # mmengine logs the memory of an accelerator if it uses one
    assert all(('memory' in entry) == (device.type == 'cuda') for entry in straight.values())

    resumed = tmp_path / 'resumed'
    resumed.mkdir()
    shutil.copy(tmp_path / 'straight' / f'iter_{RESUMED_AT}.pth', resumed)
    continued = train(config, resumed, '--resume', *OPTIONS[precision])
    assert sorted(continued) == list(range(RESUMED_AT + 1, ITERATIONS + 1))
    # GPUs add up gradients in whatever order they come
    tolerance = dict(cpu=1e-5, cuda=1e-3 if precision == 'float32' else 3e-2)[device.type]
    for step, entry in continued.items():
        assert losses(entry).keys() == {'loss', 'loss_cls', 'loss_bbox'}
        assert losses(entry) == pytest.approx(losses(straight[step]), rel=tolerance)
    weights = [
        torch.load(folder / f'iter_{ITERATIONS}.pth', map_location='cpu', weights_only=False)
        for folder in (tmp_path / 'straight', resumed)
    ]
    assert ('loss_scaler' in weights[0]['optimizer']) == (precision != 'float32')
    trained = torch.load(
        tmp_path / 'straight' / f'iter_{RESUMED_AT}.pth', map_location='cpu', weights_only=False
    )
    key = 'roi_head.bbox_head.fc_reg.weight'
    one, other, before = (state['state_dict'][key] for state in (*weights, trained))
    moved = (one - before).norm()
    assert moved > 0 and (one - other).norm() < 0.05 * moved


@pytest.mark.parametrize(('device', 'precision'), ON_GPU[1:], indirect=['device'])
def test_mixed_precision_is_mixed_and_close(
    precision: str, device: torch.device, transfer_config: Path, tmp_path: Path
) -> None:
    exact, reduced = (
        train(transfer_config, tmp_path / name, *OPTIONS[name])[1]
        for name in ('float32', precision)
    )
    assert losses(reduced) != losses(exact)
    assert losses(reduced) == pytest.approx(losses(exact), rel=0.05)
