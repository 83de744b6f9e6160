# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training with another batch than the schedule's is warned of."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper

from regionclip_mmdet.engine.hooks import BatchSizeCheckHook


def warnings(caplog: pytest.LogCaptureFixture, processes: int = 1, **settings: object) -> str:
    cfg = dict(train_dataloader=dict(batch_size=2), auto_scale_lr=dict(base_batch_size=16))
    counts = settings.pop('accumulative_counts', 1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    runner = SimpleNamespace(
        cfg=Config({**cfg, **settings}),
        world_size=processes,
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=counts),
    )
    logger = MMLogger.get_instance('batch_size_check')
    logger.addHandler(caplog.handler)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        BatchSizeCheckHook().before_train(runner)
    logger.removeHandler(caplog.handler)
    return caplog.text


def test_one_gpu_for_eight_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    text = warnings(caplog)
    assert 'sees 2 images (1 processes x 2 x 1 accumulated)' in text and 'made for 16' in text
    assert 'tools/scale_schedule.py CONFIG --batch-size 2' in text
    assert '--batch-size 12' in warnings(caplog, processes=2, accumulative_counts=3)


@pytest.mark.parametrize(
    'settings',
    [
        dict(processes=8),
        dict(processes=2, accumulative_counts=4),
        dict(auto_scale_lr=dict(base_batch_size=2)),  # as tools/scale_schedule.py sets it
        dict(auto_scale_lr=dict(base_batch_size=16, enable=True)),
        dict(auto_scale_lr=None),
        dict(train_dataloader=None),
    ],
)
def test_what_is_meant_is_not(settings: dict, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(caplog, **settings) == ''
