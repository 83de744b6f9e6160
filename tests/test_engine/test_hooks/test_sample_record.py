# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The record of samples: what the batches held, over passes, breaks and broken images."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from checks.pretraining import check_passes, read_starts, surviving_history
from helpers import generated_shards as made
from helpers import shards_training
from regionclip_mmdet.engine.hooks import SampleRecordHook

_names = itertools.count()


def train(folder: Path, data: Path, max_iters: int, resume: int | None = None, **loop: str) -> None:
    """Passes of five batches of two; each start has a log folder of its own."""
    settings = shards_training.config(
        data,
        max_iters=max_iters,
        batch_size=2,
        work_dir=str(folder),
        experiment_name=f'record_{next(_names)}',
        load_from=None if resume is None else str(folder / f'iter_{resume}.pth'),
        resume=resume is not None,
        custom_hooks=[dict(type='KeysSeen'), dict(type='SampleRecordHook')],
        randomness=dict(seed=3),
    )
    if loop:
        settings['train_cfg'] = dict(type=loop['type'], max_epochs=max_iters // 5)
    settings['train_dataloader']['dataset']['max_broken_share'] = 1.0
    runner = Runner.from_cfg(Config(settings))
    runner._log_dir = str(folder / f'start_{0 if resume is None else resume:02d}')
    runner.train()


def nine_pairs(folder: Path, broken: int | None = None) -> set[str]:
    """Two shards, of six and three pairs; one image may be cut."""
    made.write_shards(folder, [6])
    members = [member for number in range(6, 9) for member in made.pair(number)]
    if broken is not None:
        place = 3 * (broken - 6)
        members[place] = (members[place][0], members[place][1][:40])
    made.write_tar(folder / '00001.tar', members)
    return {f'{number // 6:05d}.tar/{number:09d}' for number in range(9)}


def test_what_was_trained_over_a_break(tmp_path: Path) -> None:
    keys = nine_pairs(tmp_path / 'data', broken=7)
    broken = '00001.tar/000000007'
    folder = tmp_path / 'run'
    train(folder, tmp_path / 'data', 6)
    seen = shards_training.keys_seen(folder)
    train(folder, tmp_path / 'data', 15, resume=4)
    seen_later = shards_training.keys_seen(folder)
    starts = read_starts(folder)
    assert [(s.first_iteration, s.last_iteration) for s in starts] == [(1, 6), (5, 15)]
    for start, other in zip(starts, (seen, seen_later)):
        (record,) = start.records
        assert (record.rank, record.world_size, record.batches_per_pass) == (0, 1, 5)
        for iteration, batch in record.batches.items():
            # the other hook counts from 0
            assert list(batch.images) == other[iteration - 1]
            assert (batch.number_of_pass, batch.number) == divmod(iteration - 1, 5)
    history = surviving_history(starts, 15)
    assert history.lost == [5, 6] and history.differing == history.problems == []
    reports = check_passes(history, 5, keys - {broken}, {broken})
    assert [(report.once, report.problems) for report in reports] == [(9, [])] * 3
    for report in reports:
        ((place, stand_in),) = report.stand_ins
        assert place == broken and stand_in in keys - {broken}


@pytest.mark.parametrize('loop', ['ResumableEpochTrainLoop', 'EpochBasedTrainLoop'])
def test_epochs(tmp_path: Path, loop: str) -> None:
    keys = nine_pairs(tmp_path / 'data')
    train(tmp_path / 'run', tmp_path / 'data', 10, type=loop)
    history = surviving_history(read_starts(tmp_path / 'run'), 10)
    assert history.problems == []
    reports = check_passes(history, 5, keys)
    assert [(report.once, report.problems) for report in reports] == [(9, [])] * 2


def test_batches_without_what_is_needed() -> None:
    with pytest.raises(TypeError, match='batches have no data_samples'):
        SampleRecordHook().before_train_iter(_Nothing(), 0, dict(inputs=[]))


class _Nothing:
    """A runner at its beginning."""

    iter = 0
    train_loop = object()
    train_dataloader = (0,)


def test_samples_without_an_id(tmp_path: Path) -> None:
    nine_pairs(tmp_path / 'data')
    settings = shards_training.config(
        tmp_path / 'data', 2, 2, work_dir=str(tmp_path / 'run'),
        experiment_name=f'record_{next(_names)}', custom_hooks=[dict(type='SampleRecordHook')],
    )  # fmt: skip
    pipeline = [*shards_training.PIPELINE[:2], dict(type='PackDetInputs', meta_keys=('text',))]
    settings['train_dataloader']['dataset']['pipeline'] = pipeline
    settings['train_dataloader']['num_workers'] = 0
    with pytest.raises(KeyError, match='samples have no img_id. Add'):
        Runner.from_cfg(Config(settings)).train()
