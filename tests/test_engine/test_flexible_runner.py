# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmengine's ``FlexibleRunner`` with our loops: trains, saves, resumes exactly."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from torch.utils.data import DataLoader

from helpers import toy_training
from helpers.tool_processes import assert_continued, forget_diaries, start, write

# without EMAHook, which mmengine calls for a loaded checkpoint before it is set up
FLEXIBLE = dict(
    runner_type='FlexibleRunner',
    env_cfg=dict(dist_cfg=dict(backend='gloo')),
    custom_hooks=[dict(type='Diary')],
)
_names = itertools.count()


def train(folder: Path, resume: bool = False) -> None:
    settings = toy_training.config(strategy=dict(type='SingleDeviceStrategy'), **FLEXIBLE)
    settings |= dict(
        work_dir=str(folder), experiment_name=f'flexible_{next(_names)}', resume=resume
    )
    runner = RUNNERS.build(Config(settings))
    runner.train()
    assert isinstance(runner.train_dataloader, DataLoader)
    assert runner.train_dataloader.batch_size == 2 and len(runner.train_dataloader.dataset) == 11


def test_resumed_as_if_never_broken(tmp_path: Path) -> None:
    straight, broken = tmp_path / 'a', tmp_path / 'b'
    train(straight)
    train(broken)
    for iteration in (12, 16):
        (broken / f'iter_{iteration}.pth').unlink()
    whole = (broken / 'iter_20.pth').read_bytes()
    (broken / 'iter_20.pth').write_bytes(whole[: len(whole) // 2])  # where mmengine would look
    forget_diaries(broken)
    train(broken, resume=True)
    assert_continued(straight, broken, 1, {8})
    assert not list(broken.glob('*.being-written*'))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')
def test_two_processes(tmp_path: Path) -> None:
    """DDP resumes exactly; FSDP's losses are DDP's."""
    strategies = dict(ddp=dict(type='DDPStrategy'), fsdp=dict(type='FSDPStrategy'))
    configs = {
        name: write(tmp_path / f'{name}.py', strategy=strategy, **FLEXIBLE)
        for name, strategy in strategies.items()
    }
    for name, folder in (('ddp', 'a'), ('ddp', 'b'), ('fsdp', 'c')):
        code, output = start(configs[name], tmp_path / folder, 2)
        assert code == 0, output[-3000:]
    for rank in (0, 1):
        one, other = (toy_training.diary(tmp_path / folder, rank) for folder in 'ac')
        losses = [[entry['loss'] for entry in found.values()] for found in (one, other)]
        assert len(losses[0]) == 20 and losses[0] == pytest.approx(losses[1], rel=1e-4)
    for iteration in (12, 16, 20):
        (tmp_path / 'b' / f'iter_{iteration}.pth').unlink()
    forget_diaries(tmp_path / 'b')
    code, output = start(configs['ddp'], tmp_path / 'b', 2, '--resume')
    assert code == 0, output[-3000:]
    assert_continued(tmp_path / 'a', tmp_path / 'b', 2, {8})
