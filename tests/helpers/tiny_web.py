# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A detector with a text encoder as files, small enough to be served in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from helpers import tiny_models, tiny_runner

PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def write_detector(folder: Path, with_text_encoder: bool = True) -> tuple[Path, Path]:
    """Write config and checkpoint of a detector with generated weights.

    Its names are those of ``tiny_models.NAMES``; cosines are spread, so that scores differ.
    """
    clip = tiny_models.save_clip(folder / 'clip.pth', seed=3)
    tiny_models.vocabulary().save(folder / 'names.pth')
    settings = dict(
        localizer=tiny_models.localizer(tiny_models.save_localizer(folder / 'localizer.pth')),
        data_preprocessor=dict(tiny_runner.PREPROCESSOR),
        bbox_head=dict(vocabulary=str(folder / 'names.pth')),
        rcnn=dict(objectness='sigmoid'),
    )
    if with_text_encoder:
        settings['text_encoder'] = tiny_models.text_encoder(clip)
    model = tiny_models.detector_config(clip, **settings)
    config = Config(
        dict(
            custom_imports=dict(imports=['regionclip_mmdet'], allow_failed_imports=False),
            default_scope='mmdet',
            model=model,
            test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=PIPELINE)),
        )
    )
    built = tiny_models.fill(MODELS.build(config.model), seed=1)
    torch.save(dict(state_dict=built.state_dict()), folder / 'detector.pth')
    config.dump(folder / 'detector.py')
    return folder / 'detector.py', folder / 'detector.pth'
