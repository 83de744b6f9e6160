# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A training run of milliseconds in which everything is random: data order, samples, model.

Used in this process and, with its folder on ``PYTHONPATH``, by ``tools/train.py``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch.utils.data import Dataset


@MODELS.register_module()
class NoisyLine(BaseModel):
    """Fits a slope of 3, with dropout from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(4, 1)

    def forward(self, x: list, index: list, noise: list, mode: str = 'tensor') -> Any:
        x = torch.stack(x)
        if mode != 'loss':
            return [dict(slope=self.line.weight.sum().item())] * len(x)
        kept = torch.nn.functional.dropout(x, 0.3)
        target = 3 * x.sum(1, keepdim=True) + np.random.normal(scale=0.1)
        return dict(loss=((self.line(kept) - target) ** 2).mean())


@DATASETS.register_module()
class NoisyPoints(Dataset):
    """Points with noise of all three generators; wide and tall 'images' alternate in threes."""

    metainfo = dict(classes=('even', 'odd'))

    def __init__(self, size: int = 11) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def get_data_info(self, index: int) -> dict:
        return dict(width=100, height=200 if index % 3 else 50)

    def get_cat_ids(self, index: int) -> list[int]:
        return [index % 2]

    def __getitem__(self, index: int) -> dict:
        noise = (random.random(), np.random.random(), torch.rand(()).item())
        x = torch.linspace(0.1, 0.4, 4) * (index + 1) / self.size + 0.1 * sum(noise)
        return dict(x=x, index=index, noise=noise)


@METRICS.register_module()
class Slope(BaseMetric):
    """Draws from the global generators, as a careless metric might."""

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results.extend(sample['slope'] for sample in data_samples)
        np.random.random()
        torch.rand(3)

    def compute_metrics(self, results: list) -> dict:
        return dict(slope=sum(results) / len(results), count=len(results))


@HOOKS.register_module()
class Diary(Hook):
    """Writes one JSON line per iteration to ``rank_N.jsonl`` in the work dir."""

    # after the checkpoint of the iteration
    priority = 'LOWEST'

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        noise = torch.stack([torch.as_tensor(values) for values in data_batch['noise']])
        line = dict(
            iter=runner.iter,
            epoch=runner.epoch,
            index=[int(i) for i in data_batch['index']],
            noise=noise.double().sum(0).tolist(),
            loss=outputs['loss'].item(),
        )
        with open(Path(runner.work_dir) / f'rank_{get_rank()}.jsonl', 'a') as file:
            file.write(json.dumps(line) + '\n')
            file.flush()

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        if get_rank() == 0:
            with open(Path(runner.work_dir) / 'validations.jsonl', 'a') as file:
                file.write(json.dumps(dict(iter=runner.iter, epoch=runner.epoch)) + '\n')


@HOOKS.register_module()
class KillHook(Hook):
    """Kills its process without warning after an iteration, once."""

    priority = 'LOWEST'

    def __init__(self, iteration: int, rank: int = 0) -> None:
        self.iteration = iteration
        self.rank = rank

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.iteration and get_rank() == self.rank:
            os.kill(os.getpid(), 9)


@HOOKS.register_module()
class StallWhileWriting(Hook):
    """Stays, on the main process, in the middle of writing the checkpoint of an iteration.

    Half of the bytes are in the temporary file then. All processes leave their ids behind.
    """

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train(self, runner: Any) -> None:
        folder = Path(runner.work_dir)
        (folder / f'pid_{get_rank()}').write_text(str(os.getpid()))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        if runner.iter + 1 == self.iteration:
            os.fsync = partial(self._stall, Path(runner.work_dir))

    @staticmethod
    def _stall(folder: Path, handle: int) -> None:
        os.truncate(f'/proc/self/fd/{handle}', os.fstat(handle).st_size // 2)
        (folder / 'writing').touch()
        time.sleep(600)


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends its process a signal in the middle of an iteration, or right after it.

    Args:
        iteration: Counted from 1.
        rank: Which process.
        after: Whether the iteration's other hooks have all run by then.
        workers: Whether processes that load data get it, too.
    """

    priority = 'LOWEST'

    def __init__(
        self, iteration: int, rank: int = 0, after: bool = False, workers: bool = False
    ) -> None:
        self.iteration = iteration
        self.rank = rank
        self.after = after
        self.workers = workers

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self._send(runner, after=False)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self._send(runner, after=True)

    def _send(self, runner: Any, after: bool) -> None:
        if (runner.iter + 1, get_rank(), after) == (self.iteration, self.rank, self.after):
            os.kill(os.getpid(), signal.SIGTERM)
            for pid in runner.train_dataloader.worker_ids() if self.workers else ():
                os.kill(pid, signal.SIGTERM)


def diary(work_dir: Path, rank: int = 0) -> dict[int, dict]:
    """What happened in each iteration; of repeated ones the last."""
    lines = (work_dir / f'rank_{rank}.jsonl').read_text().splitlines()
    return {entry['iter']: entry for entry in map(json.loads, lines)}


def config(**changes: Any) -> dict:
    """Iteration-based: 20 iterations of batch size 2, a checkpoint every 4, validation every 8."""
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type='NoisyPoints'),
        sampler=dict(type='InfiniteSampler', shuffle=True),
    )
    test = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
    settings = dict(
        default_scope='mmdet',
        custom_imports=dict(
            imports=['regionclip_mmdet', 'helpers.toy_training'], allow_failed_imports=False
        ),
        model=dict(type='NoisyLine'),
        train_dataloader=loader,
        val_dataloader=test,
        test_dataloader=test,
        val_evaluator=dict(type='Slope'),
        test_evaluator=dict(type='Slope'),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=20, val_interval=8),
        val_cfg=dict(),
        test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6),
            dict(type='CosineAnnealingLR', by_epoch=False, begin=6, T_max=14),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1), dict(type='Diary')],
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=5),
    )
    return settings | changes
