# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Samples per second of a data loader, alone and beside training steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.runner import Runner

from regionclip_mmdet.engine.loops import ResumableLoader

from .timing import now

# A share of waiting below this is noise.
KEEPS_UP = 0.05


@dataclass(frozen=True)
class Loading:
    """What was seen with one number of workers.

    Attributes:
        workers: Processes that load; 0: the training process itself.
        rate: Samples per second of the loader alone.
        step: Mean seconds of a step, without waiting; None: no steps were made.
        wait: Mean seconds that a step waited for its batch.
        batch_size: Images of a step.
    """

    workers: int
    rate: float
    step: float | None = None
    wait: float | None = None
    batch_size: int = 0

    @property
    def waiting(self) -> float:
        """Share of the time that is waiting."""
        return self.wait / (self.wait + self.step)


def loader_config(
    config: ConfigDict, workers: int, batch_size: int | None = None, shards: str | None = None
) -> ConfigDict:
    """A training loader with other settings.

    Args:
        config: ``train_dataloader``.
        workers: Number of processes.
        batch_size: None: as it is.
        shards: Folder whose shards are read, by the same pipeline, in place of its dataset.

    Raises:
        ValueError: ``shards``, but the dataset has no pipeline to take, or one for proposals.
    """
    config = copy.deepcopy(config)
    config.num_workers = workers
    config.batch_size = batch_size or config.batch_size
    if not workers:
        config.persistent_workers = False
        config.pop('prefetch_factor', None)
    if shards is not None:
        pipeline = config.dataset.get('pipeline')
        if pipeline is None:
            raise ValueError(f'{config.dataset.get("type")} has no pipeline; take another config.')
        if any(transform.type == 'LoadRegionProposals' for transform in pipeline):
            raise ValueError('The pipeline reads proposals, which generated pairs do not have.')
        config.dataset = ConfigDict(
            type='ImageTextShards', data_root=shards, shards='*.tar', pipeline=pipeline
        )
        config.sampler = ConfigDict(type='ShardSampler')
        config.pop('batch_sampler', None)
    return config


def open_stream(config: ConfigDict) -> tuple[Iterator, int]:
    """Endless batches as the iteration-based loop takes them, and how many are loaded ahead."""
    source = Runner.build_dataloader(copy.deepcopy(config), seed=0)
    ahead = source.num_workers * (source.prefetch_factor or 0)
    return ResumableLoader(source).batches(seed=0, epoch=0, skip=0, endless=True), ahead


def loading_rate(stream: Iterator, ahead: int, batches: int) -> float:
    """Samples per second if nothing else is done.

    Starting the workers does not count, nor do batches that they loaded meanwhile.

    Args:
        stream: Of batches, from its beginning.
        ahead: Batches that workers load before they are wanted.
        batches: Number of batches that count.
    """
    for _ in range(1 + ahead):
        next(stream)
    start, samples = now(), 0
    for _ in range(batches):
        samples += len(next(stream)['data_samples'])
    return samples / (now() - start)


def waits_beside_steps(
    stream: Iterator, ahead: int, step: Callable[[Any], Any], steps: int, device: str = 'cpu'
) -> tuple[float, float]:
    """Mean seconds of a step and of waiting for its batch.

    Args:
        stream: Of batches, from its beginning.
        ahead: Batches that workers load before they are wanted.
        step: Takes a batch.
        steps: Number of steps that count; before them those whose batches were loaded ahead while
            nothing was done, at most as many.
        device: Where the steps run.
    """
    step(next(stream))
    for _ in range(min(ahead, steps)):
        step(next(stream))
    in_step = waiting = 0.0
    for _ in range(steps):
        start = now(device)
        batch = next(stream)
        loaded = now(device)
        step(batch)
        in_step += now(device) - loaded
        waiting += loaded - start
    return in_step / steps, waiting / steps


def training_step(task: Any) -> Callable[[Any], None]:
    """Steps of a ``PretrainingWorkload``: each batch is prepared, but the workload's is learned."""

    def step(batch: Any) -> None:
        with torch.no_grad():
            task.model.data_preprocessor(batch, training=True)
        task.step()

    return step


def format_loading(rows: Sequence[Loading], alone: float | None = None) -> str:
    """A Markdown table and what it says.

    Args:
        rows: One per number of workers.
        alone: Images per second of the step without any loading.
    """
    head = ['workers', 'samples/s, loader alone']
    if alone is not None:
        head += ['images/s with steps', 's of a step', 's waiting', 'share waiting']
    lines = [head, ['---:'] * len(head)]
    for row in rows:
        cells = [str(row.workers), f'{row.rate:.3g}']
        if alone is not None:
            rate = row.batch_size / (row.step + row.wait)
            cells += [f'{rate:.3g}', f'{row.step:.3g}', f'{row.wait:.3g}', f'{row.waiting:.1%}']
        lines.append(cells)
    table = '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)
    return f'{table}\n\n{_verdict(rows, alone)}'


def _verdict(rows: Sequence[Loading], alone: float | None) -> str:
    best = max(rows, key=lambda row: row.rate)
    if alone is None:
        return f'At most {best.rate:.3g} samples/s, with {best.workers} workers.'
    text = f'A step without loading: {alone:.3g} images/s. '
    enough = [row for row in rows if row.waiting < KEEPS_UP]
    if enough:
        row = min(enough, key=lambda row: row.workers)
        return text + (
            f'Loading keeps up with {row.workers} workers: {row.waiting:.1%} of the time is '
            'waiting.'
        )
    each = max(row.rate / max(row.workers, 1) for row in rows)
    return text + (
        f'Loading does not keep up: at least {min(row.waiting for row in rows):.0%} of the time is '
        f'waiting. At {each:.3g} samples/s of a worker it would take about '
        f'{math.ceil(alone / each)} workers, each with a core of its own.'
    )
