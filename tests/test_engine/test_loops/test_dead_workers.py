# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A killed data worker gives one error that says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_training
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import get_worker_info

from regionclip_mmdet.engine.loops import DataWorkerError


@DATASETS.register_module()
class DeadlyPoints(toy_training.NoisyPoints):
    """Its sample number 7 kills the worker that loads it, as a lack of memory would."""

    def __getitem__(self, index: int) -> dict:
        if index == 7 and get_worker_info() is not None:
            os.kill(os.getpid(), 9)
        return super().__getitem__(index)


def test_killed_worker(tmp_path: Path) -> None:
    loader = toy_training.config()['train_dataloader'] | dict(
        dataset=dict(type='DeadlyPoints'), num_workers=1
    )
    settings = toy_training.config(train_dataloader=loader, experiment_name='dead_worker')
    runner = Runner.from_cfg(Config(settings | dict(work_dir=str(tmp_path))))
    with pytest.raises(DataWorkerError, match=r'of the training data loader died.*\(1 for train.*'):
        runner.train()
    assert not (tmp_path / 'iter_20.pth').exists()
