# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A loss that learns: its scalars are optimized, saved, and in nobody's way."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.optim import build_optim_wrapper
from torch import nn

from helpers import tiny_models

SIZE = (64, 80)
CAPTIONS = ('a cat on a mat', 'two red balls')
SCALARS = {'roi_head.loss_image_text.log_scale', 'roi_head.loss_image_text.bias'}


def pretrainer(loss: str, **settings: object) -> nn.Module:
    """Images and texts alone."""
    config = tiny_models.regionclip_config(
        roi_head=dict(region_text_head=None, loss_image_text=dict(type=loss, **settings)),
        teacher=None,
        localizer=None,
    )
    torch.manual_seed(0)
    model = MODELS.build(config)
    for part in (model.backbone, model.roi_head.region_encoder, model.text_encoder):
        tiny_models.fill(part, seed=1)
    return model.train()


def batch() -> dict:
    return dict(
        inputs=tiny_models.images(SIZE, SIZE),
        data_samples=tiny_models.samples(SIZE, SIZE, captions=CAPTIONS),
    )


def test_scalars_are_optimized_and_saved() -> None:
    model = pretrainer('ImageTextSigmoidLoss', scale=4.0, bias=-2.0)
    assert model.state_dict().keys() >= SCALARS
    before = {key: model.state_dict()[key].clone() for key in SCALARS}
    assert sorted(map(float, before.values())) == pytest.approx([-2, math.log(4)])
    wrapper = build_optim_wrapper(
        model,
        dict(type='PerTensorClipOptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    )
    found = model.train_step(batch(), wrapper)
    assert found['loss_image_text'] > 0.1
    after = model.state_dict()
    assert all(abs(float(after[key] - before[key])) > 1e-3 for key in SCALARS)

    fresh = pretrainer('ImageTextSigmoidLoss')
    fresh.load_state_dict(after, strict=False)
    assert all(torch.equal(fresh.state_dict()[key], after[key]) for key in SCALARS)


def test_a_checkpoint_of_another_loss_leaves_the_initial_values() -> None:
    other = pretrainer('ImageTextContrastiveLoss')
    assert not other.state_dict().keys() & SCALARS
    model = pretrainer('ImageTextSigmoidLoss')
    nn.init.zeros_(model.backbone.conv1.weight)
    model.load_state_dict(other.state_dict(), strict=False)
    assert float(model.roi_head.loss_image_text.bias.detach()) == -10
    assert torch.equal(model.backbone.conv1.weight, other.backbone.conv1.weight)


def test_others_do_not_mind_the_scalars() -> None:
    learned = pretrainer('ImageTextSigmoidLoss').state_dict()
    others = [
        pretrainer('ImageTextContrastiveLoss'),
        pretrainer('ImageTextSigmoidLoss', learnable=False),
        MODELS.build(tiny_models.detector_config()),
    ]
    for other in others:
        nn.init.zeros_(other.backbone.conv1.weight)
        other.load_state_dict(learned, strict=False)
        assert torch.equal(other.backbone.conv1.weight, learned['backbone.conv1.weight'])
        assert not other.state_dict().keys() & SCALARS
