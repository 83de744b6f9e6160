# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's own ``train.py`` and ours do the same with a config of this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch

from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, ShapesWorldSpec, make_shapes_world
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).resolve().parents[2]
STOCK_TRAIN = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'

CONFIG = """
_base_ = [{base!r}]
random = dict(type='RandomWeights', _delete_=True)
model = dict(
    backbone=dict(init_cfg=random),
    localizer=dict(init_cfg=random),
    roi_head=dict(
        region_encoder=dict(init_cfg=random),
        bbox_head=dict(vocabulary={vocabulary!r}, test_vocabulary=None),
    ),
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root={scenes!r}))
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=None)
randomness = dict(seed=3)
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('stock')
    scenes = make_shapes_world(folder / 'scenes', ShapesWorldSpec('scenes', 8), progress=False)
    matrix = torch.randn(len(BASE_CLASSES), 128, generator=torch.Generator().manual_seed(0))
    vocabulary = folder / 'base.pth'
    TextEmbeddings.from_tensor(matrix, BASE_CLASSES).save(vocabulary)
    path = folder / 'transfer.py'
    path.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs' / 'quickstart' / 'transfer.py'),
            vocabulary=str(vocabulary),
            scenes=f'{scenes}/',
        )
    )
    return path


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


def test_same_losses_with_the_same_seed(config: Path, tmp_path: Path) -> None:
    losses = []
    for name, script in (('ours', ROOT / 'tools' / 'train.py'), ('stock', STOCK_TRAIN)):
        (tmp_path / name).mkdir()
        losses.append(first_losses(script, config, tmp_path / name))
    assert len(losses[0]) == 2
    assert set(losses[0][0]) == {'loss', 'loss_cls', 'loss_bbox'}
    assert losses[0][0]['loss_cls'] > 0.1
    assert losses[0] == losses[1]
