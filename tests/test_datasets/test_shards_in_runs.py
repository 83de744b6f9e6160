# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training on shards: broken off within a pass, every pair still comes once; two processes."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import generated_shards as made
import gloo_ranks
import pytest
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import regionclip_mmdet  # noqa: F401
from regionclip_mmdet.datasets import ImageTextShards, ShardSampler

SIZES = [5, 3, 8, 4, 7]  # 27 pairs
PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'text')),
]
_names = itertools.count()


@MODELS.register_module()
class Brightness(BaseModel):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor') -> Any:
        assert [int(s.text.split()[-1]) for s in data_samples] == list(map(made.number_in, inputs))
        return dict(loss=self.weight * torch.stack(inputs).float().mean())


@HOOKS.register_module()
class KeysSeen(Hook):
    """Keeps the keys of every iteration."""

    def __init__(self) -> None:
        self.keys: dict[int, list[str]] = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.keys[runner.iter] = [sample.img_id for sample in data_batch['data_samples']]


def train(folder: Path, data: Path, resume: int | None = None, **sampler: Any) -> dict:
    """Two passes of nine batches of three; the keys of each iteration."""
    checkpoint = None if resume is None else str(folder / f'iter_{resume}.pth')
    settings = dict(
        default_scope='mmdet',
        model=dict(type='Brightness'),
        train_dataloader=dict(
            batch_size=3,
            num_workers=2,
            sampler=dict(type='ShardSampler', buffer_shards=2) | sampler,
            dataset=dict(
                type='ImageTextShards', shards='*.tar', data_root=str(data), pipeline=PIPELINE
            ),
        ),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=18, val_interval=100),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4)
        ),
        custom_hooks=[dict(type='KeysSeen')],
        log_processor=dict(by_epoch=False),
        work_dir=str(folder),
        experiment_name=f'shards_{next(_names)}',
        load_from=checkpoint,
        resume=resume is not None,
    )
    runner = Runner.from_cfg(Config(settings))
    runner.train()
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, KeysSeen))
    return hook.keys


def all_keys() -> set[str]:
    shards = [shard for shard, size in enumerate(SIZES) for _ in range(size)]
    return {f'{shard:05d}.tar/{number:09d}' for number, shard in enumerate(shards)}


def test_a_run_that_goes_on_within_a_pass(tmp_path: Path) -> None:
    data = made.write_shards(tmp_path / 'data', SIZES)
    straight = train(tmp_path / 'run', data)  # no seed: the checkpoint carries it
    for first in (0, 9):
        seen = [key for i in range(first, first + 9) for key in straight[i]]
        assert len(seen) == 27 and set(seen) == all_keys()
    assert [straight[i] for i in range(9)] != [straight[i] for i in range(9, 18)]
    resumed = train(tmp_path / 'run', data, resume=12)
    assert resumed == {i: straight[i] for i in range(12, 18)}
    with pytest.raises(RuntimeError, match='settings of the sampler: .*buffer_shards'):
        train(tmp_path / 'run', data, resume=12, buffer_shards=3)
    made.write_shards(data, [4, 4, 8, 4, 7])  # as many pairs, differently spread
    with pytest.raises(RuntimeError, match='settings of the sampler: .*checksum_of_sizes'):
        train(tmp_path / 'run', data, resume=12)


def work(rank: int) -> dict:
    """One of two processes, which index the shards at the same time."""
    init_default_scope('mmdet')
    data = Path(gloo_ranks.sys.argv[3]) / 'data'
    dataset = ImageTextShards('*.tar', data_root=str(data), pipeline=PIPELINE)
    found = {}
    for tail in ('pad', 'drop'):
        sampler = ShardSampler(dataset, buffer_shards=2, tail=tail)  # one seed, drawn together
        assert (sampler.rank, sampler.world_size) == (rank, 2)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=4, sampler=sampler, num_workers=1, collate_fn=list
        )
        found[tail] = [s['data_samples'].img_id for batch in loader for s in batch]
    return found


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    made.write_shards(tmp_path / 'data', SIZES)
    results = gloo_ranks.run_ranks(__file__, 2, tmp_path)
    padded = Counter(key for result in results for key in result['pad'])
    assert set(padded) == all_keys() and padded.total() == 28
    assert [len(result['pad']) for result in results] == [14, 14]
    dropped = [key for result in results for key in result['drop']]
    assert len(dropped) == len(set(dropped)) == 26 and set(dropped) < all_keys()
    assert len(list((tmp_path / 'data').glob('*.index.npz'))) == len(SIZES)
    assert not list((tmp_path / 'data').glob('*.being-written'))


if __name__ == '__main__':
    gloo_ranks.main(work)
