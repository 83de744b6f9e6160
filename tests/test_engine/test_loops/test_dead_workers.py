# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A killed data worker gives one error that says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader, get_worker_info

from helpers import toy_training
from regionclip_mmdet.engine.loops import DataWorkerError, ResumableLoader, explain_dead_workers


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


@pytest.mark.parametrize('killed', [True, False])
@pytest.mark.parametrize('error', [ConnectionResetError('by peer'), EOFError('no more')])
def test_connection_broken_by_a_dead_worker(error: Exception, killed: bool) -> None:
    """What a main process sees that was receiving a sample when its worker was killed."""
    loader = ResumableLoader(DataLoader(toy_training.NoisyPoints(), 2, num_workers=1))
    batches = loader.batches(0, 0, 0, True)
    next(batches)
    (worker,) = loader.worker_ids()
    # torch's handler would speak first, or not, as chance has it
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with pytest.raises(DataWorkerError if killed else type(error)) as caught:
            with explain_dead_workers(loader):
                if killed:
                    os.kill(worker, 9)
                raise error
    finally:
        signal.signal(signal.SIGCHLD, handler)
    if killed:
        message = str(caught.value)
        assert 'training data loader died' in message and str(error) in message
    loader.close()
