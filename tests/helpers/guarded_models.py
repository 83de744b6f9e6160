# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tiny models whose weights come from a checkpoint alone, and what they detect."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from helpers import tiny_models
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN, RegionCLIP

SIZE = (64, 80)
BOXES = torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0]])


def unguarded(settings: dict) -> dict:
    """A config without init_cfg: only a checkpoint can fill the model."""
    config = tiny_models.detector_config(**settings)
    config.backbone.init_cfg = None
    config.roi_head.region_encoder.init_cfg = None
    return config


def bare_localizer() -> dict:
    return dict(tiny_models.LOCALIZER, init_cfg=None)


def bare_text_encoder() -> dict:
    return dict(tiny_models.text_encoder(), init_cfg=None)


def detector(config: dict | None = None, **settings: object) -> OpenVocabularyRCNN:
    return MODELS.build(config or unguarded(settings)).eval()


def pretrainer(**settings: object) -> RegionCLIP:
    return MODELS.build(tiny_models.regionclip_config(**settings))


def predict(model: nn.Module, proposals: Tensor | None = BOXES) -> Tensor:
    given = None if proposals is None else [proposals]
    samples = tiny_models.samples(SIZE, proposals=given)
    with torch.no_grad():
        scores = model.predict(tiny_models.images(SIZE), samples)[0].pred_instances.scores
    assert len(scores) > 1
    return scores
