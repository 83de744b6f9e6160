# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's own ``test.py``, which needs a compiled mmcv, and ours find the same objects."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from helpers import tiny_models
from regionclip_mmdet.compat import uses_operator_fallback
from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).resolve().parents[2]
STOCK_TEST = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'

CONFIG = """
_base_ = [{base!r}]
random = dict(type='RandomWeights', _delete_=True)
model = dict(
    backbone=dict(init_cfg=random),
    localizer=dict(init_cfg=random),
    roi_head=dict(
        region_encoder=dict(init_cfg=random),
        bbox_head=dict(vocabulary={names!r}, test_vocabulary=None),
    ),
)
test_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root={scenes!r}))
test_evaluator = dict(ann_file={annotations!r})
train_dataloader = train_cfg = optim_wrapper = None
val_dataloader = val_evaluator = val_cfg = None
param_scheduler = None
"""


def found_by(script: Path, config: Path, checkpoint: Path, folder: Path) -> list[dict]:
    """Predictions that a script writes."""
    folder.mkdir()
    # mmdet's script knows nothing of this package: the config's custom_imports must do
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(script), str(config), str(checkpoint)]
    command += ['--work-dir', str(folder), '--out', str(folder / 'found.pkl')]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return pickle.loads((folder / 'found.pkl').read_bytes())


@pytest.mark.skipif(
    uses_operator_fallback(), reason="mmdet's test.py needs a compiled mmcv (make test-ops has one)"
)
def test_same_detections(transfer_config: Path, tmp_path: Path) -> None:
    scenes = transfer_config.parent / 'scenes'
    names = tmp_path / 'names.pth'
    matrix = torch.randn(len(CLASSES), 128, generator=torch.Generator().manual_seed(0))
    TextEmbeddings.from_tensor(matrix, CLASSES).save(names)
    config = tmp_path / 'detect.py'
    base = str(ROOT / 'configs' / 'quickstart' / 'transfer.py')
    config.write_text(
        CONFIG.format(
            base=base,
            names=str(names),
            scenes=f'{scenes}/',
            annotations=str(scenes / 'instances.json'),
        )
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = tiny_models.fill(MODELS.build(Config.fromfile(config).model), seed=1)
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)

    ours = found_by(ROOT / 'tools' / 'test.py', config, checkpoint, tmp_path / 'ours')
    stock = found_by(STOCK_TEST, config, checkpoint, tmp_path / 'stock')
    assert len(ours) == len(stock) == 8
    assert sum(len(image['pred_instances']['scores']) for image in ours) > 20
    for a, b in zip(ours, stock, strict=True):
        assert a['img_id'] == b['img_id']
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a['pred_instances'][key], b['pred_instances'][key]), key
