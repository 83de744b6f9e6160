# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A resumed run equals one that was never broken, number by number."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader, IterableDataset

from helpers import toy_training
from regionclip_mmdet.engine.loops import ResumableLoader

_names = itertools.count()


def train(folder: Path, resume: Path | None = None, **changes: Any) -> Runner:
    settings = toy_training.config(**changes)
    settings.update(
        work_dir=str(folder),
        experiment_name=f'resumable_{next(_names)}',
        load_from=None if resume is None else str(resume),
        resume=resume is not None,
    )
    runner = Runner.from_cfg(Config(settings))
    runner.train()
    return runner


def leaves(value: Any, path: str = '') -> dict[str, Any]:
    """Tensors and plain values of a nested structure by where they are."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    else:
        return {path: value.tolist() if isinstance(value, torch.Tensor) else value}
    return {k: v for name, part in pairs for k, v in leaves(part, f'{path}.{name}').items()}


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, moving average, optimizer, schedules, position and history of two checkpoints."""
    loaded = [torch.load(path, weights_only=False) for path in (one, other)]
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'data_position'):
        expected = leaves(loaded[0][key])
        assert len(expected) >= 2 and leaves(loaded[1][key]) == expected
    history = [c['message_hub']['log_scalars']['train/loss'].data[0].tolist() for c in loaded]
    assert history[0] == history[1] and len(history[0]) == loaded[0]['meta']['iter']


def loader(**changes: Any) -> dict:
    return toy_training.config()['train_dataloader'] | changes


ORDERS = dict(
    infinite=dict(sampler=dict(type='InfiniteSampler', shuffle=True)),
    passes=dict(sampler=dict(type='DefaultSampler', shuffle=True)),
    aspect=dict(
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=dict(type='AspectRatioBatchSampler'),
    ),
    endless_aspect=dict(
        sampler=dict(type='InfiniteSampler', shuffle=True),
        batch_sampler=dict(type='AspectRatioBatchSampler'),
    ),
    classes=dict(sampler=dict(type='ClassAwareSampler')),
)


@pytest.mark.parametrize('order', ORDERS)
def test_iterations(tmp_path: Path, order: str) -> None:
    data = loader(**ORDERS[order])
    train(tmp_path / 'straight', train_dataloader=data)
    train(tmp_path / 'resumed', tmp_path / 'straight' / 'iter_12.pth', train_dataloader=data)
    straight, resumed = (toy_training.diary(tmp_path / name) for name in ('straight', 'resumed'))
    assert sorted(straight) == list(range(20)) and sorted(resumed) == list(range(12, 20))
    assert all(resumed[i] == straight[i] for i in resumed)
    assert_same_end(tmp_path / 'straight' / 'iter_20.pth', tmp_path / 'resumed' / 'iter_20.pth')


def test_samples_do_not_depend_on_workers_or_validation(tmp_path: Path) -> None:
    train(tmp_path / 'a')
    train(
        tmp_path / 'b',
        train_dataloader=loader(num_workers=2, persistent_workers=True, prefetch_factor=4),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=20, val_interval=3),
    )
    assert toy_training.diary(tmp_path / 'a') == toy_training.diary(tmp_path / 'b')
    # and no sample draws the same numbers twice
    noise = [entry['noise'][0] for entry in toy_training.diary(tmp_path / 'a').values()]
    assert len(set(noise)) == 20


def test_resume_with_workers(tmp_path: Path) -> None:
    train(tmp_path / 'straight')
    train(
        tmp_path / 'resumed',
        tmp_path / 'straight' / 'iter_8.pth',
        train_dataloader=loader(num_workers=2, persistent_workers=True),
    )
    straight, resumed = (toy_training.diary(tmp_path / name) for name in ('straight', 'resumed'))
    assert sorted(resumed) == list(range(8, 20))
    assert all(resumed[i] == straight[i] for i in resumed)


def epochs(**changes: Any) -> dict:
    return dict(
        train_dataloader=loader(sampler=dict(type='DefaultSampler', shuffle=True), **changes),
        train_cfg=dict(type='ResumableEpochTrainLoop', max_epochs=3, val_interval=1),
        log_processor=dict(by_epoch=True),
        param_scheduler=[dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True)],
    )


@pytest.mark.parametrize('workers', [dict(), dict(num_workers=1, persistent_workers=True)])
@pytest.mark.parametrize('at', [2, 6, 8, 12])
def test_epochs(tmp_path: Path, at: int, workers: dict) -> None:
    """An epoch of 11 samples has 6 batches, the last of one sample; 6 and 12 are its ends."""
    hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=2))
    train(tmp_path / 'straight', default_hooks=hooks, **epochs())
    train(
        tmp_path / 'resumed',
        tmp_path / 'straight' / f'iter_{at}.pth',
        default_hooks=hooks,
        **epochs(**workers),
    )
    straight, resumed = (toy_training.diary(tmp_path / name) for name in ('straight', 'resumed'))
    assert sorted(straight) == list(range(18)) and sorted(resumed) == list(range(at, 18))
    assert [len(straight[i]['index']) for i in range(6)] == [2, 2, 2, 2, 2, 1]
    for first in (0, 6, 12):  # every epoch sees every sample once
        seen = sum((straight[i]['index'] for i in range(first, first + 6)), [])
        assert sorted(seen) == list(range(11))
    assert straight[0]['index'] != straight[6]['index']
    assert all(resumed[i] == straight[i] for i in resumed)
    assert_same_end(tmp_path / 'straight' / 'iter_18.pth', tmp_path / 'resumed' / 'iter_18.pth')
    validated = [
        json.loads(line)['epoch']
        for line in (tmp_path / 'resumed' / 'validations.jsonl').read_text().splitlines()
    ]
    assert validated == [epoch for epoch in (1, 2, 3) if 6 * epoch >= at]


def test_checkpoints_by_epoch(tmp_path: Path) -> None:
    hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=True, interval=1))
    train(tmp_path / 'straight', default_hooks=hooks, **epochs())
    resumed = tmp_path / 'resumed'
    train(resumed, tmp_path / 'straight' / 'epoch_2.pth', default_hooks=hooks, **epochs())
    straight = toy_training.diary(tmp_path / 'straight')
    assert toy_training.diary(resumed) == {i: straight[i] for i in range(12, 18)}
    assert_same_end(tmp_path / 'straight' / 'epoch_3.pth', resumed / 'epoch_3.pth')
    # the checkpoint is written before the validation of its epoch
    assert (resumed / 'validations.jsonl').read_text().count('\n') == 2


def test_same_order_as_mmengine(tmp_path: Path) -> None:
    train(tmp_path / 'ours')
    sampler = InfiniteSampler(toy_training.NoisyPoints(), seed=5)
    expected = list(itertools.islice(sampler, 40))
    ours = toy_training.diary(tmp_path / 'ours')
    assert sum((ours[i]['index'] for i in range(20)), []) == expected


def test_without_a_configured_seed(tmp_path: Path) -> None:
    """Seeds of the run and of its sampler come from the checkpoint."""
    train(tmp_path / 'straight', randomness=dict(seed=None))
    train(tmp_path / 'resumed', tmp_path / 'straight' / 'iter_12.pth', randomness=dict(seed=None))
    straight, resumed = (toy_training.diary(tmp_path / name) for name in ('straight', 'resumed'))
    assert all(resumed[i] == straight[i] for i in range(12, 20))


def test_another_batch_size_goes_on_after_as_many_samples(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    train(tmp_path / 'straight')
    train(
        tmp_path / 'resumed',
        tmp_path / 'straight' / 'iter_8.pth',
        train_dataloader=loader(batch_size=4),
    )
    straight, resumed = (toy_training.diary(tmp_path / name) for name in ('straight', 'resumed'))
    assert resumed[8]['index'] == straight[8]['index'] + straight[9]['index']
    printed = ' '.join(''.join(capfd.readouterr()).split())
    assert '1 processes of batch size 2, now there are 1 of 4' in printed
    # recorded in the present batches, for a further resume
    position = torch.load(tmp_path / 'resumed' / 'iter_12.pth', weights_only=False)['data_position']
    assert (position['batch'], position['batch_size']) == (4 + 4, 4)


def test_other_data_are_refused_or_begun_anew(tmp_path: Path) -> None:
    train(tmp_path / 'straight')
    checkpoint = tmp_path / 'straight' / 'iter_8.pth'
    data = loader(dataset=dict(type='NoisyPoints', size=12))
    with pytest.raises(RuntimeError, match=r'samples in the dataset: 11, now 12.*load_from'):
        train(tmp_path / 'refused', checkpoint, train_dataloader=data)
    settings = dict(type='ResumableIterTrainLoop', max_iters=20, allow_changed_data=True)
    train(tmp_path / 'new', checkpoint, train_dataloader=data, train_cfg=settings)
    expected = list(itertools.islice(InfiniteSampler(toy_training.NoisyPoints(12), seed=5), 2))
    assert toy_training.diary(tmp_path / 'new')[8]['index'] == expected
    with pytest.raises(RuntimeError, match='train loop: ResumableIterTrainLoop, now'):
        train(tmp_path / 'loop', checkpoint, **epochs())


def test_checkpoint_of_another_loop(tmp_path: Path) -> None:
    """One of mmengine's: the position is counted from the iteration."""
    settings = dict(type='IterBasedTrainLoop', max_iters=20, val_interval=8)
    train(tmp_path / 'stock', train_cfg=settings)
    train(tmp_path / 'resumed', tmp_path / 'stock' / 'iter_12.pth')
    stock, resumed = (toy_training.diary(tmp_path / name) for name in ('stock', 'resumed'))
    assert [resumed[i]['index'] for i in range(12, 20)] == [
        stock[i]['index'] for i in range(12, 20)
    ]


def test_weights_alone_start_at_the_beginning(tmp_path: Path) -> None:
    train(tmp_path / 'straight')
    train(tmp_path / 'new', load_from=str(tmp_path / 'straight' / 'iter_8.pth'))
    straight, new = (toy_training.diary(tmp_path / name) for name in ('straight', 'new'))
    assert [new[i]['index'] for i in range(20)] == [straight[i]['index'] for i in range(20)]


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        return itertools.count()


def test_loaders_without_positions_are_refused() -> None:
    with pytest.raises(ValueError, match='Endless is an iterable dataset.*IterBasedTrainLoop'):
        ResumableLoader(DataLoader(Endless()))
    with pytest.raises(ValueError, match='batch_size is None'):
        ResumableLoader(DataLoader(toy_training.NoisyPoints(), batch_size=None))


def test_hooks_find_the_original_loader() -> None:
    source = DataLoader(toy_training.NoisyPoints(), batch_size=4)
    wrapped = ResumableLoader(source)
    assert wrapped.dataset is source.dataset and wrapped.batch_size == 4
    assert len(wrapped) == 3 and len(list(wrapped)) == 3


def test_switching_the_data_restarts_the_workers() -> None:
    """As mmdet's PipelineSwitchHook asks for it."""
    source = DataLoader(
        toy_training.NoisyPoints(), batch_size=11, num_workers=1, persistent_workers=True
    )
    wrapped = ResumableLoader(source)
    first = wrapped.batches(seed=0, epoch=0, skip=0, endless=False)
    assert next(first)['index'].max() == 10
    before = wrapped.worker_ids()
    assert len(before) == 1
    wrapped.batches(seed=0, epoch=1, skip=0, endless=False)
    assert wrapped.worker_ids() == before
    wrapped.dataset.size = 22
    wrapped._iterator = None
    wrapped.batches(seed=0, epoch=2, skip=0, endless=False)
    assert wrapped.worker_ids().isdisjoint(before)
