# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tiny detectors to export, with one level of anchors and with several."""

from __future__ import annotations

import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from helpers import tiny_models
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

PYRAMID = dict(
    backbone={
        **tiny_models.LOCALIZER['backbone'],
        **dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(1, 2)),
    },
    neck=dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=3),
    rpn_head={
        **tiny_models.LOCALIZER['rpn_head'],
        'anchor_generator': dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0], strides=[8, 16, 32]
        ),
    },
    pad_size_divisor=32,
)
LOCALIZERS = dict(c4={}, fpn=PYRAMID, none=None)
SOFT_NMS = dict(type='global_soft_nms', method='gaussian', sigma=0.5, min_score=0.001)
PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(200, 120), keep_ratio=True, backend='pillow'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def build(localizer: str = 'c4', loaded: bool = True, **settings: object) -> nn.Module:
    """The model of ``build_with_config``."""
    return build_with_config(localizer, loaded, **settings)[0]


def build_with_config(
    localizer: str = 'c4', loaded: bool = True, **settings: object
) -> tuple[nn.Module, ConfigDict]:
    """A detector with weights that leave no layer without effect, in evaluation mode.

    Args:
        localizer: Key of ``LOCALIZERS``.
        loaded: Whether its weights count as loaded; otherwise they are random ones, unwanted.
        settings: As in ``tiny_models.detector_config``.
    """
    changes = LOCALIZERS[localizer]
    preprocessor = dict(
        type='DetDataPreprocessor', mean=list(CLIP_MEAN), std=list(CLIP_STD), bgr_to_rgb=True
    )
    config = tiny_models.detector_config(
        localizer=None if changes is None else tiny_models.localizer(**changes),
        data_preprocessor=preprocessor,
        **settings,
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = tiny_models.fill(MODELS.build(config)).eval()
    if loaded:
        model.load_state_dict(model.state_dict())
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    return model, config


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """RGB, uint8 ``(H, W, 3)``: rectangles and noise."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128.0)
    for _ in range(12):
        y, x = random.integers(height), random.integers(width)
        image[y : y + height // 3, x : x + width // 3] = random.integers(0, 256, 3)
    return (image + random.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
