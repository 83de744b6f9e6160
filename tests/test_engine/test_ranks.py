# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the main process alone finds out ends all processes; the others do not wait for ever."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from helpers import gloo_ranks, toy_training
from regionclip_mmdet.engine.hooks import AtomicLocalBackend
from regionclip_mmdet.engine.robust.ranks import (
    any_rank,
    of_all_ranks,
    on_main_process,
    raise_on_all_ranks,
)


class OddError(Exception):
    """Cannot be pickled: it is made from two arguments, and remembers one."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f'{what} {number}')


@HOOKS.register_module()
class SpoilWeights(Hook):
    """Makes the weights NaN after iteration 4, before its checkpoint, on the main process alone."""

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter == 3 and get_rank() == 0:
            torch.nn.init.constant_(runner.model.line.weight, torch.nan)


def error_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except Exception as error:  # the test looks at which it is
        return f'{type(error).__name__}: {error}'
    return ''


def fail(error: Exception) -> None:
    raise error


def train(name: str, **changes: Any) -> None:
    folder = Path(os.environ['FOLDER']) / name
    hooks = toy_training.config()['custom_hooks']
    changes['custom_hooks'] = [*hooks, *changes.pop('more_hooks', [])]
    config = toy_training.config(work_dir=str(folder), experiment_name=name, **changes)
    Runner.from_cfg(Config(config)).train()


def a_full_disk(file_name: str) -> Any:
    """The main process cannot write files of that name."""
    put = AtomicLocalBackend.put

    def fails(self: AtomicLocalBackend, obj: bytes, filepath: str) -> None:
        if file_name in str(filepath):
            raise OSError(errno.ENOSPC, f'{filepath}: no space')
        put(self, obj, filepath)

    return mock.patch.object(AtomicLocalBackend, 'put', fails)


def train_with_full_disk(name: str, file_name: str) -> None:
    hooks = toy_training.config()['default_hooks']
    checkpoint = dict(hooks['checkpoint'], save_best='slope', rule='less', max_keep_ckpts=1)
    with a_full_disk(file_name):
        train(name, default_hooks=hooks | dict(checkpoint=checkpoint))


def train_uneven(loop: str) -> None:
    loader = toy_training.config()['train_dataloader']
    sampler = dict(type='DefaultSampler', shuffle=True, round_up=False)
    length = dict(max_epochs=2) if 'Epoch' in loop else dict(max_iters=7)
    train(
        f'uneven_{loop}',
        # 7 samples: 4 and 3, or 3, 2 and 2
        train_dataloader=dict(loader, batch_size=1, sampler=sampler, dataset=dict(SEVEN)),
        train_cfg=dict(type=loop, **length),
        param_scheduler=None,
    )


SEVEN = dict(type='NoisyPoints', size=7)


def meet(error: Exception | None, rank: int) -> Callable[[], None]:
    def work() -> None:
        with raise_on_all_ranks():
            if get_rank() == rank and error is not None:
                raise error

    return work


def work(rank: int) -> dict:
    calls = dict(
        nothing=meet(None, 0),
        main=meet(KeyError('a'), 0),
        odd=meet(OddError('odd', 3), 0),
        once=lambda: on_main_process(lambda: fail(ValueError('once'))),
        nan=lambda: train(
            'nan', more_hooks=[dict(type='SpoilWeights'), dict(type='NonFiniteLossHook')]
        ),
        disk=lambda: train_with_full_disk('disk', '/iter_8.pth'),
        best=lambda: train_with_full_disk('best', '/best_slope'),
        uneven=lambda: train_uneven('ResumableEpochTrainLoop'),
        uneven_by_iteration=lambda: train_uneven('ResumableIterTrainLoop'),
    )
    found = {name: error_of(call) for name, call in calls.items()}
    found['any'] = [any_rank(rank == 1), any_rank(False), any_rank(True)]
    found['all'] = of_all_ranks(rank + 10)
    return found


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('ranks')


@pytest.fixture(scope='module', params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, folder: Path) -> list[dict]:
    place = folder / str(request.param)
    place.mkdir()
    with mock.patch.dict(os.environ, FOLDER=str(place)):
        return gloo_ranks.run_ranks(__file__, request.param, place)


@pytest.mark.parametrize(
    ('case', 'main', 'others'),
    [
        ('nothing', '', ''),
        ('main', "KeyError: 'a'", "KeyError: 'a'"),
        ('odd', 'OddError: odd 3', 'RuntimeError: OddError: odd 3'),
        ('once', 'ValueError: once', 'ValueError: once'),
    ],
)
def test_errors_reach_all(ranks: list[dict], case: str, main: str, others: str) -> None:
    assert [found[case] for found in ranks] == [main, *[others] * (len(ranks) - 1)]


def test_numbers_of_all(ranks: list[dict]) -> None:
    for found in ranks:
        assert found['any'] == [True, False, True]
        assert found['all'] == [10, 11, 12][: len(ranks)]


def test_refused_weights_end_all(ranks: list[dict], folder: Path) -> None:
    for found in ranks:
        assert found['nan'].startswith('NonFiniteLossError: After iteration 4, line.weight holds')
    assert not list((folder / f'{len(ranks)}' / 'nan').glob('*.pth'))


@pytest.mark.parametrize(('case', 'left'), [('disk', {'iter_4.pth'}), ('best', {'iter_8.pth'})])
def test_a_full_disk_ends_all(ranks: list[dict], folder: Path, case: str, left: set) -> None:
    for found in ranks:
        assert found[case].startswith('OSError: [Errno 28]') and 'no space' in found[case]
    assert {p.name for p in (folder / f'{len(ranks)}' / case).glob('*.pth')} == left


def test_epochs_of_other_lengths_are_refused(ranks: list[dict]) -> None:
    for found in ranks:
        assert found['uneven'].startswith('ValueError: The processes have different numbers of ')
        assert str({2: [4, 3], 3: [3, 2, 2]}[len(ranks)]) in found['uneven']
        assert 'round_up=True' in found['uneven']
        assert found['uneven_by_iteration'] == ''


if __name__ == '__main__':
    gloo_ranks.main(work)
