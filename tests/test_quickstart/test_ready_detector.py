# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The quickstart's detector for own photos: one config, one checkpoint, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from examples.quickstart.ready_detector import (
    example_command,
    inference_config,
    save_with_text_encoder,
)
from helpers import tiny_inference, tiny_models
from regionclip_mmdet import config_path
from regionclip_mmdet.apis import RegionCLIPInferencer


def test_config_and_checkpoint_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no work_dirs, no data
    whole = Config.fromfile(config_path('quickstart/transfer.py'))
    cfg = inference_config(whole)
    assert whole.model.test_cfg.rcnn.objectness == 'none'  # left as it is
    cfg.dump('detector.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        trained = tiny_models.fill(MODELS.build({**cfg.model, 'text_encoder': None}))
        encoder = tiny_models.fill(MODELS.build(cfg.model.text_encoder), seed=1)
    names = ('red circle', 'blue square')
    trained.roi_head.bbox_head.classifier.set_vocabulary(tiny_models.vocabulary(names, dim=128))
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=('square', 'disc')), seed=0),
        state_dict=trained.state_dict(),
    )
    save_with_text_encoder(checkpoint, encoder, Path('detector.pth'))

    saved = torch.load('detector.pth', weights_only=True)
    assert saved['meta'] == dict(dataset_meta=dict(classes=('square', 'disc')))
    one = RegionCLIPInferencer('detector.py', 'detector.pth', device='cpu', show_progress=False)
    image = tiny_inference.image(150, 200)
    (own,) = one(image)['predictions']
    assert own['names'] == list(names) and own['labels']
    expected = encoder.encode_names(['a house', 'a tree'], list(whole.prompts))
    torch.testing.assert_close(one.vocabulary('a house . a tree').matrix, expected.matrix)
    for key, value in trained.state_dict().items():
        if 'classifier' not in key:
            assert torch.equal(one.model.state_dict()[key], value), key
    fused = one.query(expected, image, objectness='sigmoid')
    assert one.query(expected, image) == fused != one.query(expected, image, objectness='none')


def test_the_command_names_both_files() -> None:
    command = example_command(Path('work_dirs/quickstart/detector'))
    assert 'work_dirs/quickstart/detector/detector.py' in command
    assert 'work_dirs/quickstart/detector/detector.pth' in command
    assert "--texts 'red circle . blue square'" in command
