# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's own ``train.py`` and ours do the same with a config of this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mmdet

ROOT = Path(__file__).resolve().parents[2]
STOCK_TRAIN = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'


def first_losses(script: Path, config: Path, work_dir: Path) -> list[dict[str, float]]:
    """Train two iterations with a script; the losses it logged."""
    # mmdet's script knows nothing of this package: the config's custom_imports must do
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(script), str(config), '--work-dir', str(work_dir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=work_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{k: v for k, v in line.items() if 'loss' in k} for line in lines]


def test_same_losses_with_the_same_seed(transfer_config: Path, tmp_path: Path) -> None:
    losses = []
    for name, script in (('ours', ROOT / 'tools' / 'train.py'), ('stock', STOCK_TRAIN)):
        (tmp_path / name).mkdir()
        losses.append(first_losses(script, transfer_config, tmp_path / name))
    assert len(losses[0]) == 2
    assert set(losses[0][0]) == {'loss', 'loss_cls', 'loss_bbox'}
    assert losses[0][0]['loss_cls'] > 0.1
    assert losses[0] == losses[1]
