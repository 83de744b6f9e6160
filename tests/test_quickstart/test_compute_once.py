# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes in shards come back as they were, with the boxes that the localizer proposes on-line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.registry import init_default_scope

from examples.quickstart.compute_once import pack_scenes, propose_regions
from examples.quickstart.runs import load_config, relocated
from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers import tiny_models
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets import ImageTextDataset


def test_scenes_and_proposals(tmp_path: Path) -> None:
    init_default_scope('mmdet')
    scenes = tmp_path / 'scenes'
    make_shapes_world(scenes, ShapesWorldSpec(num_images=5, kind='scenes', seed=3), progress=False)
    cfg = load_config(config_path('quickstart/pretrain.py'))
    localizer = tiny_models.fill(MODELS.build(dict(cfg.localizer, init_cfg=None)), seed=4)
    (tmp_path / 'localizer').mkdir()
    weights = tmp_path / 'localizer' / 'localizer.pth'
    torch.save(dict(state_dict=localizer.state_dict()), weights)
    cfg = relocated(cfg, {'work_dirs/quickstart': str(tmp_path)})
    pack_scenes(scenes, tmp_path / 'pretrain' / 'shards', per_shard=2)
    report = propose_regions(cfg)
    assert (report.shards, report.images, report.broken) == (3, 5, [])

    dataset = cfg.train_dataloader.dataset
    flips = dataset.pipeline[2].transforms
    flips[-1].prob = 0.0
    shards = DATASETS.build(dataset)
    plain = ImageTextDataset(
        str(scenes / 'captions.json'), data_prefix=dict(img_path=str(scenes / 'images'))
    )
    packed = {shards.image_bytes(i): shards.get_data_info(i)['captions'] for i in range(5)}
    for idx in range(5):
        item = plain.get_data_info(idx)
        assert packed.pop(Path(item['img_path']).read_bytes()) == item['captions']
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    localizer.eval()
    for idx in range(5):
        sample = shards[idx]
        found = sample['data_samples'].proposals
        batch = preprocessor(
            dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), training=False
        )
        with torch.no_grad():
            (expected,) = localizer(batch['inputs'], [sample['data_samples'].metainfo])
        assert len(found) == len(expected) == 12
        np.testing.assert_allclose(found.bboxes, expected.bboxes, atol=1e-3)
        np.testing.assert_allclose(found.objectness_logits, expected.objectness_logits, atol=1e-4)
