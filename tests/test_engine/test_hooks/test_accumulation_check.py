# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Accumulated batches of pairs are warned of, in a run and where there is reason to."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from torch import nn

from helpers import tiny_models
from regionclip_mmdet import config_path
from regionclip_mmdet.engine.hooks import AccumulationCheckHook


def pretrainer(loss: dict | None) -> nn.Module:
    config = tiny_models.regionclip_config(roi_head=dict(loss_image_text=loss), localizer=None)
    return MODELS.build(config)


def warnings(caplog: pytest.LogCaptureFixture, model: nn.Module, counts: int) -> str:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    runner = SimpleNamespace(
        model=model, optim_wrapper=OptimWrapper(optimizer, accumulative_counts=counts)
    )
    logger = MMLogger.get_instance('accumulation_check')
    logger.addHandler(caplog.handler)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        AccumulationCheckHook().before_train(runner)
    logger.removeHandler(caplog.handler)
    return caplog.text


@pytest.mark.parametrize('kind', ['ImageTextContrastiveLoss', 'ImageTextSigmoidLoss'])
def test_accumulated_pairs_are_warned_of(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    text = warnings(caplog, pretrainer(dict(type=kind)), 4)
    assert (
        f'4 batches are accumulated into an update, but roi_head.loss_image_text ({kind})' in text
    )
    assert 'not those of all 4' in text


def test_clip_itself(caplog: pytest.LogCaptureFixture) -> None:
    text = {k: v for k, v in tiny_models.TEXT_ARCH.items() if k not in ('vocab_size', 'embed_dim')}
    model = MODELS.build(dict(type='ImageTextCLIP', arch=tiny_models.ARCH, text=text))
    assert 'but ImageTextCLIP contrasts' in warnings(caplog, model, 2)


def test_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    contrast = dict(type='ImageTextContrastiveLoss')
    assert warnings(caplog, pretrainer(contrast), 1) == ''
    assert warnings(caplog, pretrainer(dict(contrast, loss_weight=0.0)), 4) == ''
    assert warnings(caplog, pretrainer(None), 4) == ''
    assert warnings(caplog, MODELS.build(tiny_models.detector_config()), 4) == ''


def test_every_run_has_the_hook() -> None:
    runtime = Config.fromfile(Path(config_path('_base_/default_runtime.py')))
    assert dict(type='AccumulationCheckHook') in runtime.default_hooks.values()
