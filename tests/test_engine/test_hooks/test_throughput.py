# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images per second and waiting for data, with a clock that only the run's own work moves."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from helpers import gloo_ranks
from regionclip_mmdet.compat import prepare_launch
from regionclip_mmdet.engine.robust import throughput
from regionclip_mmdet.engine.robust.throughput import images_in


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


class Slow(Dataset):
    """A sample takes a second more on each further process; the first three take long."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.loaded = 0

    @property
    def num_broken(self) -> int:
        return 2 + get_rank()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        self.loaded += 1
        CLOCK.now += 100 if self.loaded <= 3 else 1.0 + get_rank()
        return dict(inputs=torch.ones(3), data_samples=DetDataSample())


class Working(BaseModel):
    """Three seconds of work."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: Any, data_samples: Any, mode: str = 'tensor') -> Any:
        CLOCK.now += 3
        return dict(loss=self.weight * 1.0) if mode == 'loss' else [dict()]


class Nothing(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        CLOCK.now += 1000
        return dict(nothing=0.0)


class SlowDrawing(Hook):
    priority = 'VERY_LOW'

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        CLOCK.now += 50


def train(folder: Path, hook: dict, **settings: Any) -> Runner:
    def loader() -> dict:
        return dict(
            batch_size=3,
            dataset=Slow(60),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )

    runner = Runner(
        Working(),
        work_dir=str(folder),
        train_dataloader=loader(),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=6, val_interval=3),
        val_dataloader=loader(),
        val_cfg=dict(),
        val_evaluator=Evaluator(Nothing()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
        custom_hooks=[
            dict(type='ThroughputHook', **hook),
            dict(type='BrokenImagesHook', interval=3),
            SlowDrawing(),
        ],
        log_processor=dict(by_epoch=False),
        default_scope='mmdet',
        experiment_name=folder.name,
        randomness=dict(seed=0),
        **settings,
    )
    with mock.patch.object(throughput, 'time', SimpleNamespace(perf_counter=CLOCK.perf_counter)):
        runner.train()
    return runner


def values(runner: Runner) -> dict[str, list[float]]:
    scalars = runner.message_hub.log_scalars
    keys = ('images_per_second', 'data_wait', 'images_skipped')
    return {key: scalars[f'train/{key}'].data[0].tolist() for key in keys}


def test_counts_waiting_and_work_alone(tmp_path: Path) -> None:
    """Three images in three seconds of waiting and three of work; hooks and validation apart."""
    runner = train(tmp_path / 'default', {})
    found = values(runner)
    assert found == dict(images_per_second=[0.5] * 3, data_wait=[0.5] * 3, images_skipped=[2, 2])
    (log,) = (tmp_path / 'default').glob('*/*.log')
    assert log.read_text().count('images_per_second: 0.5000  data_wait: 0.5000') == 3
    runner = train(tmp_path / 'own', dict(interval=3))
    assert len(values(runner)['data_wait']) == 2


def work(rank: int) -> dict:
    os.environ['LOCAL_RANK'] = str(rank)
    cfg = Config(dict(launcher='pytorch'))
    prepare_launch(cfg)
    return values(train(Path(os.environ['FOLDER']), {}, launcher='pytorch', cfg=cfg))


@pytest.mark.slow
def test_two_processes_are_counted_together(tmp_path: Path) -> None:
    """Waiting 3 and 6 seconds of 6 and 9: 6 images in 7.5 seconds, 9/15 of them waited; 2 + 3."""
    with mock.patch.dict(os.environ, FOLDER=str(tmp_path / 'run')):
        ranks = gloo_ranks.run_ranks(__file__, 2, tmp_path)
    expected = dict(images_per_second=[0.8] * 3, data_wait=[0.6] * 3, images_skipped=[5, 5])
    assert ranks == [expected, expected]


def test_images_of_a_batch() -> None:
    assert images_in(dict(inputs=[torch.ones(3)] * 4, data_samples=None)) == 4
    assert images_in(dict(inputs=torch.ones(5, 3))) == 5
    assert images_in([1, 2]) == 2
    assert images_in(dict(x=[1])) == 0


if __name__ == '__main__':
    gloo_ranks.main(work)
