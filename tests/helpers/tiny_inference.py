# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tiny detectors with a config, and images, for tests of the inference API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from helpers import tiny_models
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

PREPROCESSOR = dict(
    type='DetDataPreprocessor',
    mean=list(CLIP_MEAN),
    std=list(CLIP_STD),
    bgr_to_rgb=True,
    pad_size_divisor=1,
)
PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(120, 96), keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def config(**settings: object) -> Config:
    """Config of a detector with localizer and test pipeline; see ``tiny_models``."""
    settings.setdefault('localizer', tiny_models.localizer())
    model = tiny_models.detector_config(**settings)
    model.data_preprocessor = PREPROCESSOR
    dataset = dict(type='CocoDataset', pipeline=PIPELINE)
    return Config(
        dict(
            default_scope='mmdet',
            model=model,
            test_dataloader=dict(dataset=dataset),
            visualizer=dict(type='OpenVocabVisualizer', name='tiny'),
        )
    )


def detector(**settings: object) -> OpenVocabularyRCNN:
    """A detector with filled weights, as ``init_detector`` would return it."""
    cfg = config(**settings)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = tiny_models.fill(MODELS.build(cfg.model), seed=1).eval()
    for part in model.weight_sources():
        model.get_submodule(part).weights_source = 'this test'
    model.cfg = cfg
    return model


def image(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """Colored rectangles, BGR."""
    generator = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128, np.uint8)
    for _ in range(8):
        top, left = generator.integers(0, height - 12), generator.integers(0, width - 12)
        bottom, right = top + generator.integers(8, 30), left + generator.integers(8, 30)
        pixels[top:bottom, left:right] = generator.integers(0, 256, 3)
    return pixels


def save_image(path: Path, **settings: int) -> Path:
    """A PNG of ``image``."""
    from PIL import Image

    Image.fromarray(image(**settings)[..., ::-1]).save(path)
    return path


@dataclass(frozen=True)
class DetectorFiles:
    """Paths.

    Attributes:
        config: Of a detector with a text encoder that is filled by its checkpoint.
        checkpoint: All parts, ``text_encoder.*`` among them, and the vocabulary.
        bare_config: The same without a text encoder.
        bare_checkpoint: Without ``text_encoder.*``.
        clip: CLIP weights that fit.
        names: A vocabulary of the names ``'tram'`` and ``'bridge'``.
    """

    config: Path
    checkpoint: Path
    bare_config: Path
    bare_checkpoint: Path
    clip: Path
    names: Path


def save_detector(folder: Path) -> DetectorFiles:
    """Write a detector whose text encoder, backbone and region encoder are one tiny CLIP."""
    clip = tiny_models.save_clip(folder / 'clip.pth')
    names = folder / 'names.pth'
    tiny_models.vocabulary(('tram', 'bridge')).save(names)
    model = detector(
        bbox_head=dict(with_reg=False, temperature=0.1), rcnn=dict(objectness='sigmoid')
    )
    state = model.state_dict()
    encoder = MODELS.build(tiny_models.text_encoder(clip))
    encoder.init_weights()
    text = {f'text_encoder.{key}': value for key, value in encoder.state_dict().items()}
    paths = {}
    for name, content in (('detector', {**state, **text}), ('bare', state)):
        cfg = config(
            bbox_head=dict(with_reg=False, temperature=0.1, vocabulary=None),
            rcnn=dict(objectness='sigmoid'),
        )
        for part in (cfg.model.backbone, cfg.model.roi_head.region_encoder, cfg.model.localizer):
            part.pop('init_cfg')
        cfg.prompts = ['a {}', 'a photo of a {}']
        if name == 'detector':
            cfg.model.text_encoder = dict(type='CLIPTextEncoder', arch=tiny_models.TEXT_ARCH)
        paths[name] = folder / f'{name}.py', folder / f'{name}.pth'
        cfg.dump(paths[name][0])
        torch.save(dict(state_dict=content), paths[name][1])
    return DetectorFiles(*paths['detector'], *paths['bare'], clip, names)
