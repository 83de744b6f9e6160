# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Configs for a dataset of one's own: their schedule, and small models train with them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from examples.shapes_world.example import (
    BASE_NAMES,
    NOVEL_NAMES,
    make_example_dataset,
)
from helpers import tiny_recipes
from regionclip_mmdet import config_path
from regionclip_mmdet.models.text import TextEmbeddings

NAME = 'custom/regionclip_rn50_fpn_custom.py'
ZERO_SHOT = 'custom/regionclip_rn50_fpn_custom_zero-shot.py'


def test_rate_is_the_official_one_scaled_by_the_batch() -> None:
    cfg = Config.fromfile(config_path(NAME))
    official = Config.fromfile(config_path('ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py'))
    share = cfg.train_dataloader.batch_size / official.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == official.optim_wrapper.optimizer.lr * share
    # one GPU: the check of batch sizes has nothing to warn of
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
    end = cfg.train_cfg.max_iters
    warm_up, steps = cfg.param_scheduler
    assert warm_up.end < steps.milestones[0] < steps.milestones[1] < steps.end == end
    assert end % cfg.train_cfg.val_interval == 0
    assert cfg.train_cfg.val_interval % cfg.default_hooks.checkpoint.interval == 0


def test_the_backbone_learns_slower() -> None:
    cfg = Config.fromfile(config_path(NAME))
    model = nn.ModuleDict(dict(backbone=nn.Linear(1, 1), roi_head=nn.Linear(1, 1)))
    with DefaultScope.overwrite_default_scope('mmdet'):
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    assert rates[id(model['backbone'].weight)] == pytest.approx(5e-5)
    assert rates[id(model['roi_head'].weight)] == pytest.approx(5e-4)


def test_zero_shot_is_that_of_the_benchmarks() -> None:
    ours = Config.fromfile(config_path(ZERO_SHOT)).model
    theirs = Config.fromfile(config_path('zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py')).model
    assert ours.test_cfg == theirs.test_cfg
    assert ours.localizer == theirs.localizer
    heads = [dict(model.roi_head.bbox_head) for model in (ours, theirs)]
    for head in heads:
        head.pop('vocabulary'), head.pop('test_vocabulary', None)
    assert heads[0] == heads[1]


def small(name: str) -> Config:
    """A config with the names of the example's data, which lie in data/custom."""
    cfg = tiny_recipes.load(name)
    metainfo = dict(base_classes=BASE_NAMES, novel_classes=())
    if cfg.train_dataloader is not None:
        cfg.train_dataloader.dataset.metainfo = dict(metainfo, classes=BASE_NAMES)
    metainfo = dict(base_classes=BASE_NAMES, novel_classes=NOVEL_NAMES)
    for key in ('val_dataloader', 'test_dataloader'):
        cfg[key].dataset.metainfo = dict(metainfo, classes=BASE_NAMES + NOVEL_NAMES)
    tiny_recipes.make_files(cfg)
    return cfg


def test_small_models_train_and_are_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    make_example_dataset('data/custom')
    generator = torch.Generator().manual_seed(0)
    for name, names in (('base', BASE_NAMES), ('all', BASE_NAMES + NOVEL_NAMES)):
        matrix = torch.randn(len(names), 32, generator=generator)
        TextEmbeddings(names, matrix).save(f'data/custom/{name}_names.pth')
    Runner.from_cfg(small(NAME)).train()
    state = torch.load('run/iter_2.pth', map_location='cpu', weights_only=False)['state_dict']
    assert len(state['roi_head.bbox_head.classifier.embeddings']) == len(BASE_NAMES)

    cfg = small(ZERO_SHOT)
    cfg.load_from = 'run/iter_2.pth'
    metrics = Runner.from_cfg(cfg).test()
    for key in ('novel_ap50', 'base_ap50', 'all_ap50'):
        assert math.isfinite(metrics[f'coco/bbox_{key}'])
