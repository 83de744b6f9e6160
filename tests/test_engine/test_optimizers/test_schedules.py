# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Learning rates of the official schedules at chosen iterations."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from regionclip_mmdet import config_path

WARM_UP = {0: 1e-3, 1: 1e-3 + 0.999 / 5000, 2500: 0.5005, 4999: 1 - 0.999 / 5000, 5000: 1.0}


def rates(schedule: str, iterations: int) -> list[float]:
    """Learning rate of every iteration."""
    cfg = Config.fromfile(config_path(f'_base_/schedules/{schedule}.py'))
    optimizer = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], cfg.optim_wrapper.optimizer.lr
    )
    wrapper = OptimWrapper(optimizer)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=wrapper))
        for s in cfg.param_scheduler
    ]
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_coco_transfer() -> None:
    found = rates('coco_transfer_90k', 90000)
    for iteration, factor in WARM_UP.items():
        assert found[iteration] == pytest.approx(0.002 * factor, rel=1e-6), iteration
    assert found[5001] == found[59999] == pytest.approx(0.002, rel=1e-6)
    assert found[60000] == found[79999] == pytest.approx(0.0002, rel=1e-6)
    assert found[80000] == found[89999] == pytest.approx(0.00002, rel=1e-6)


def test_lvis_transfer_and_pretraining_warm_up() -> None:
    found = rates('lvis_transfer_180k', 5002)
    for iteration, factor in WARM_UP.items():
        assert found[iteration] == pytest.approx(0.002 * factor, rel=1e-6), iteration
    found = rates('pretrain_600k', 1002)
    assert found[0] == pytest.approx(2e-6)
    assert found[500] == pytest.approx(0.002 * 0.5005, rel=1e-6)
    assert found[1000] == found[1001] == pytest.approx(0.002, rel=1e-6)


def test_localizers_and_short_pretraining() -> None:
    found = rates('rpn_90k', 90000)
    assert found[0] == pytest.approx(0.02 * 0.001)
    assert found[500] == pytest.approx(0.02 * 0.5005, rel=1e-6)
    assert found[1000] == found[59999] == pytest.approx(0.02, rel=1e-6)
    assert found[60000] == found[79999] == pytest.approx(0.002, rel=1e-6)
    assert found[80000] == found[89999] == pytest.approx(0.0002, rel=1e-6)
    assert rates('rpn_180k', 1002) == found[:1002]
    found = rates('pretrain_coco_23k', 23400)
    assert found[1000] == found[11699] == pytest.approx(0.002, rel=1e-6)
    assert found[11700] == found[20474] == pytest.approx(0.0002, rel=1e-6)
    assert found[20475] == pytest.approx(0.00002, rel=1e-6)


def test_large_scale_jitter_falls_as_a_cosine() -> None:
    found = rates('rpn_lsj_737k', 2001)
    assert found[0] == pytest.approx(0.1 * 0.067, rel=1e-6)
    for iteration in (250, 500, 2000):
        warm_up = min(1.0, 0.067 + (1 - 0.067) * iteration / 500)
        cosine = (1 + math.cos(math.pi * iteration / 737500)) / 2
        assert found[iteration] == pytest.approx(0.1 * warm_up * cosine, rel=1e-6)


@pytest.mark.parametrize(
    ('schedule', 'iterations', 'milestones', 'batch'),
    [
        ('coco_transfer_90k', 90000, [60000, 80000], 16),
        ('lvis_transfer_180k', 180000, [120000, 160000], 16),
        ('pretrain_600k', 600000, [300000, 525000], 96),
    ],
)
def test_official_numbers(
    schedule: str, iterations: int, milestones: list[int], batch: int
) -> None:
    cfg = Config.fromfile(config_path(f'_base_/schedules/{schedule}.py'))
    assert cfg.train_cfg.max_iters == iterations
    assert cfg.param_scheduler[1].milestones == milestones
    assert cfg.param_scheduler[1].end == iterations
    assert cfg.auto_scale_lr.base_batch_size == batch
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.002, 0.9)
    assert optimizer.weight_decay == 1e-4
    clip = cfg.optim_wrapper.get('clip_grad')
    assert clip == (dict(type='per_tensor_norm', max_norm=5.0) if batch == 96 else None)
