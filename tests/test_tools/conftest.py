# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A run of two iterations of a real detector on generated scenes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).resolve().parents[2]

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


@pytest.fixture(scope='session')
def transfer_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('transfer')
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
