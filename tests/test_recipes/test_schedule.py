# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Schedules for other batch sizes, against numbers worked out by hand."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from regionclip_mmdet import config_path
from regionclip_mmdet.recipes import as_cfg_options, as_child_config, scale_schedule

ROOT = Path(__file__).parents[2]


def schedule(name: str) -> Config:
    cfg = Config.fromfile(config_path(f'_base_/schedules/{name}.py'))
    runtime = Config.fromfile(config_path('_base_/default_runtime.py'))
    cfg.default_hooks = runtime.default_hooks
    return cfg


def test_a_quarter_of_the_batch() -> None:
    found = scale_schedule(schedule('coco_transfer_90k'), 4)
    assert found == {
        'train_cfg.max_iters': 360000,
        'train_cfg.val_interval': 100000,
        'optim_wrapper.optimizer.lr': pytest.approx(0.0005),
        'param_scheduler.0.end': 20001,
        'param_scheduler.1.end': 360000,
        'param_scheduler.1.milestones': [240000, 320000],
        'default_hooks.checkpoint.interval': 20000,
        'auto_scale_lr.base_batch_size': 4,
    }


def test_accumulation_counts_batches_and_gpus_share_them() -> None:
    found = scale_schedule(schedule('lvis_transfer_180k'), 32, accumulative_counts=4, num_gpus=2)
    assert found['optim_wrapper.optimizer.lr'] == pytest.approx(0.004)
    assert found['optim_wrapper.accumulative_counts'] == 4
    assert found['train_dataloader.batch_size'] == 4
    # half the updates, four batches each
    assert found['train_cfg.max_iters'] == 360000
    assert found['param_scheduler.1.milestones'] == [240000, 320000]
    assert found['param_scheduler.0.end'] == 10001


def test_pretraining_on_eight_gpus() -> None:
    found = scale_schedule(schedule('pretrain_600k'), 24, num_gpus=8)
    assert found['optim_wrapper.optimizer.lr'] == pytest.approx(0.0005)
    assert found['train_cfg.max_iters'] == 2400000
    # never validated before, never validated now
    assert found['train_cfg.val_interval'] == 2400001
    assert found['param_scheduler.0.end'] == 4001
    assert found['param_scheduler.1.milestones'] == [1200000, 2100000]
    assert found['train_dataloader.batch_size'] == 3


def test_cosine_and_rounding() -> None:
    found = scale_schedule(schedule('rpn_lsj_737k'), 192)
    assert found['optim_wrapper.optimizer.lr'] == pytest.approx(0.3)
    assert found['param_scheduler.1.T_max'] == found['param_scheduler.1.end'] == 245833
    assert found['param_scheduler.0.end'] == 168


def rates(cfg: Config) -> list[float]:
    optimizer = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], cfg.optim_wrapper.optimizer.lr
    )
    schedulers = [
        PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=OptimWrapper(optimizer)))
        for s in cfg.param_scheduler
    ]
    found = []
    for _ in range(cfg.train_cfg.max_iters):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_the_run_follows_the_printed_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Words of the tool, parsed as tools/train.py does, give scaled rates at scaled places."""
    config = config_path('_base_/schedules/coco_transfer_90k.py')
    target = tmp_path / 'mine.py'
    options = ['--batch-size', '1600', '--gpus', '100', '--plain', '--out', str(target)]
    monkeypatch.setattr(sys, 'argv', ['scale_schedule.py', config, *options])
    runpy.run_path(str(ROOT / 'tools' / 'scale_schedule.py'), run_name='__main__')
    printed = capsys.readouterr().out
    words = printed.split()
    assert "'" not in printed and 'train_dataloader.batch_size=16' in words
    cfg = Config.fromfile(config)
    pairs = [word.split('=', 1) for word in words]
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in pairs})
    assert [dict(s) for s in Config.fromfile(target).param_scheduler] == [
        dict(s) for s in cfg.param_scheduler
    ]
    found = rates(cfg)
    assert len(found) == 900 == Config.fromfile(target).train_cfg.max_iters
    assert found[0] == pytest.approx(0.2 * 0.001)
    assert found[25] == pytest.approx(0.2 * (0.001 + 0.999 / 2))
    assert found[50] == found[599] == pytest.approx(0.2)
    assert found[600] == found[799] == pytest.approx(0.02)
    assert found[800] == found[899] == pytest.approx(0.002)


def test_quoted_options_keep_lists_together() -> None:
    words = as_cfg_options({'a.b': [1, 2], 'lr': 0.5})
    assert words == "'a.b=[1,2]' lr=0.5"


def test_child_config_is_whole(tmp_path: Path) -> None:
    config = config_path('_base_/schedules/coco_transfer_90k.py')
    cfg = Config.fromfile(config)
    (tmp_path / 'child.py').write_text(as_child_config(config, scale_schedule(cfg, 16), cfg))
    # the same batch size: nothing changes
    assert Config.fromfile(tmp_path / 'child.py').to_dict() == cfg.to_dict()


def test_what_cannot_be_scaled_is_refused() -> None:
    cfg = schedule('coco_transfer_90k')
    with pytest.raises(ValueError, match='6 images per update cannot be divided among 4'):
        scale_schedule(cfg, 6, num_gpus=4)
    with pytest.raises(ValueError, match='must be positive'):
        scale_schedule(cfg, 0)
    without = Config(dict(cfg.to_dict(), auto_scale_lr=None))
    with pytest.raises(ValueError, match='no auto_scale_lr.base_batch_size'):
        scale_schedule(without, 4)
    epochs = Config(dict(cfg.to_dict(), train_cfg=dict(max_epochs=12)))
    with pytest.raises(ValueError, match='counts epochs'):
        scale_schedule(epochs, 4)
