# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Examples of README.md and docs/running.md, run with a detector of a few thousand weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from helpers import page_runner, tiny_models, tiny_recipes, tiny_runner
from regionclip_mmdet import config_path


def test_an_inherited_config(tmp_path: Path) -> None:
    mine = tmp_path / 'mine.py'
    mine.write_text(page_runner.block('README.md', '_base_ = [').text)
    ours = Config.fromfile(config_path('quickstart/transfer.py'))
    assert Config.fromfile(mine).to_dict() == ours.to_dict()


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples name: a config, a checkpoint with a text encoder, a photo."""
    monkeypatch.chdir(tmp_path)
    meta_keys = ('img_path', 'img_id', 'ori_shape', 'img_shape', 'scale_factor')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=meta_keys),
    ]
    model = tiny_models.detector_config(
        localizer=tiny_models.localizer(),
        text_encoder=tiny_models.text_encoder(),
        data_preprocessor=dict(tiny_runner.PREPROCESSOR),
        rcnn=dict(objectness='sigmoid'),
    )
    dataset = dict(type='CocoDataset', ann_file='nowhere.json', pipeline=pipeline)
    loader = dict(dataset=dataset)
    config = Config(dict(default_scope='mmdet', model=model, test_dataloader=loader))
    tiny_models.vocabulary().save('names.pth')
    model.roi_head.bbox_head.vocabulary = 'names.pth'
    built = tiny_models.fill(MODELS.build(model), seed=1)
    # frozen, so not in its state dict by itself
    text = {f'text_encoder.{k}': v for k, v in built.text_encoder.state_dict().items()}
    torch.save(dict(state_dict=built.state_dict() | text), 'detector.pth')
    tiny_recipes.write_images(tmp_path, ['photo.jpg'])
    return dict(config=config, checkpoint='detector.pth')


def test_other_names_at_run_time(detector: dict[str, Any]) -> None:
    names = ('zebra', 'green cube', 'cat', 'dog', 'tie')
    tiny_models.vocabulary(names, seed=4).save('my_names.pth')
    exec(page_runner.block('docs/running.md', 'set_vocabulary').text, detector)
    found = detector['result'].pred_instances
    assert detector['model'].dataset_meta['classes'] == names
    assert len(found) > 4 and 2 < int(found.labels.max()) < 5


def test_own_photo_own_words(detector: dict[str, Any]) -> None:
    """The demo's detector: a config and a checkpoint with a text encoder in it."""
    folder = Path('work_dirs/quickstart/detector')
    folder.mkdir(parents=True)
    detector['config'].dump(folder / 'detector.py')
    Path(detector['checkpoint']).rename(folder / 'detector.pth')
    found: dict[str, Any] = {}
    text = page_runner.block('README.md', 'RegionCLIPInferencer').text
    head, call = text.rstrip().rsplit('\n', 1)
    exec(f'{head}\nfound = {call}', found)
    (prediction,) = found['found']['predictions']
    assert set(prediction['label_names']) <= {'red star', 'blue moon'}
    assert len(prediction['bboxes']) == len(prediction['scores']) > 4
    # enlarged, so that names can be read
    width, height = Image.open('found/vis/photo.jpg').size
    assert width / height == 80 / 60 and width >= 80
