# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Losses that are not finite do not reach the weights."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers import gloo_ranks
from regionclip_mmdet.engine.hooks import NonFiniteLossHook
from regionclip_mmdet.engine.robust.non_finite import NonFiniteLossError

_names = itertools.count()


class Images(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        sample = DetDataSample(metainfo=dict(img_path=f'images/{index}.jpg'))
        return dict(inputs=torch.tensor([float(index)]), data_samples=sample)


class Line(BaseModel):
    """Its second loss is infinite for the images in ``bad``."""

    def __init__(self, bad: tuple[int, ...] = (), bad_gradients: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bad = bad
        self.bad_gradients = bad_gradients

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str = 'tensor') -> dict:
        x = torch.stack(inputs)
        other = self.weight.sum() * 0.1
        if any(int(i) in self.bad for i in x):
            # sqrt(0) is finite, its gradient is not
            other = (
                (self.weight.detach() - self.weight).sqrt().sum()
                if self.bad_gradients
                else (other / 0)
            )
        return dict(loss_line=(self.weight * x).mean(), loss_other=[other], accuracy=other)


def make_runner(model: nn.Module, folder: Path, skip: int = 0, **settings: object) -> Runner:
    hooks = dict(
        checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=1),
        logger=dict(type='LoggerHook', interval=1),
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return Runner(
            model,
            work_dir=str(folder),
            experiment_name=f'non_finite_{next(_names)}',
            default_scope='mmdet',
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=Images(),
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='pseudo_collate'),
            ),
            train_cfg=dict(by_epoch=False, max_iters=4),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=hooks,
            custom_hooks=[dict(type='NonFiniteLossHook', skip=skip)],
            **settings,
        )


def expected_weight(batches: tuple[int, ...]) -> float:
    """After SGD on those batches (images 2i and 2i + 1)."""
    return 1 - sum(0.1 * (2 * i + 0.5 + 0.1) for i in batches)


def test_stops_with_names_and_without_an_update(tmp_path: Path) -> None:
    runner = make_runner(Line(bad=(5,)), tmp_path)
    message = r'Iteration 3: loss_other = inf is not finite. Images of the batch: '
    with pytest.raises(NonFiniteLossError, match=message + r'images/4.jpg, images/5.jpg\.') as e:
        runner.train()
    assert 'lower learning rate' in str(e.value) and 'skip=10' in str(e.value)
    assert runner.model.weight.item() == pytest.approx(expected_weight((0, 1)))
    assert (tmp_path / 'iter_2.pth').exists() and not (tmp_path / 'iter_3.pth').exists()


def test_leaves_updates_out_and_counts(tmp_path: Path) -> None:
    runner = make_runner(Line(bad=(3, 5)), tmp_path, skip=2)
    runner.train()
    assert runner.model.weight.item() == pytest.approx(expected_weight((0, 3)))
    scalars = runner.message_hub.log_scalars
    assert scalars['train/updates_left_out'].current() == 2
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'This update is left out (1 so far)' in log and 'images/3.jpg' in log
    # nothing remains of the hook
    assert runner.optim_wrapper.update_params.__name__ == 'update_params'
    assert runner.model.parse_losses.__name__ == 'parse_losses'


def test_too_many_in_a_row(tmp_path: Path) -> None:
    runner = make_runner(Line(bad=(1, 3, 5)), tmp_path, skip=2)
    with pytest.raises(NonFiniteLossError, match='Iteration 3.*It is number 3 in a row'):
        runner.train()
    assert runner.model.weight.item() == 1


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    runner = make_runner(Line(bad=(2,), bad_gradients=True), tmp_path)
    with pytest.raises(NonFiniteLossError, match='After iteration 2, weight holds NaN'):
        runner.train()
    saved = torch.load(tmp_path / 'iter_1.pth', weights_only=False)['state_dict']['weight']
    assert saved.item() == pytest.approx(expected_weight((0,)))
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_1.pth']


def test_accumulation(tmp_path: Path) -> None:
    runner = make_runner(Line(), tmp_path, skip=1)
    runner.optim_wrapper = runner.build_optim_wrapper(
        dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2)
    )
    with pytest.raises(ValueError, match='one of the 2 batches of an update'):
        runner.train()


def test_negative() -> None:
    with pytest.raises(ValueError, match='skip'):
        NonFiniteLossHook(skip=-1)


def work(rank: int) -> dict:
    """The loss of rank 1 alone is bad, in iterations 1 and 3."""
    model = MMDistributedDataParallel(Line(bad=(3,) if rank else ()), device_ids=None)
    runner = make_runner(model, Path(os.environ['FOLDER']), skip=1)
    runner.train()
    hook = next(h for h in runner.hooks if isinstance(h, NonFiniteLossHook))
    return dict(weight=model.module.weight.detach(), left_out=hook.left_out)


def test_all_processes_leave_the_same_updates_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('FOLDER', str(tmp_path / 'run'))
    ranks = gloo_ranks.run_ranks(__file__, 2, tmp_path)
    for rank in ranks:
        assert rank['left_out'] == 2
        # iterations 2 and 4: images 4 and 6 on rank 0, 5 and 7 on rank 1
        assert rank['weight'].item() == pytest.approx(1 - 2 * 0.1 * (5.5 + 0.1))


if __name__ == '__main__':
    gloo_ranks.main(work)
