# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A run goes on from its checkpoint with the most iterations that is whole, and says so."""

from __future__ import annotations

import itertools
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers import toy_training
from regionclip_mmdet.engine.robust.checkpoint_choice import choose_start, newest_whole_checkpoint

_names = itertools.count()


def checkpoint(path: Path, iteration: int, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=dict(iter=iteration), state_dict=dict(x=torch.ones(3000)), **more), path)
    return path


def zero_the_middle(path: Path) -> None:
    """Zeros in the tensor's data, as a disk that lost a block leaves them."""
    content = bytearray(path.read_bytes())
    (data,) = (info for info in zipfile.ZipFile(path).infolist() if info.file_size == 12000)
    start = data.header_offset + 4000
    content[start : start + 4000] = bytes(4000)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b'')


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to('moved_away.pth')


def folder_without_files(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_by_number_whatever_the_files_times(tmp_path: Path) -> None:
    assert newest_whole_checkpoint(tmp_path) is None
    assert newest_whole_checkpoint(tmp_path / 'nowhere') is None
    for age, iteration in enumerate((5, 30, 9, 100)):
        path = checkpoint(tmp_path / f'iter_{iteration}.pth', iteration)
        os.utime(path, (1000 - age, 1000 - age))  # the last is the oldest
    for other in ('iter_200.pth.abc.being-written', 'iter_x.pth', 'best_iter_300.pth'):
        (tmp_path / other).write_text('')
    assert newest_whole_checkpoint(tmp_path).name == 'iter_100.pth'


@pytest.mark.parametrize('damage', [zero_the_middle, cut, empty, dangle, folder_without_files])
def test_what_is_damaged_is_passed_over_with_a_word(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for iteration in (5, 10, 20):
        checkpoint(tmp_path / f'iter_{iteration}.pth', iteration)
    damage(tmp_path / 'iter_20.pth')
    said: list[str] = []
    assert newest_whole_checkpoint(tmp_path, say=said.append).name == 'iter_10.pth'
    (text,) = said
    assert 'iter_20.pth' in text and 'passed over' in text


@pytest.mark.parametrize(
    ('epoch_ends_at', 'expected'), [(30, 'iter_35.pth'), (40, 'epoch_3.pth'), (35, 'epoch_3.pth')]
)
def test_epochs_and_iterations_are_compared_by_what_is_in_them(
    tmp_path: Path, epoch_ends_at: int, expected: str
) -> None:
    checkpoint(tmp_path / 'epoch_2.pth', 20)
    checkpoint(tmp_path / 'epoch_3.pth', epoch_ends_at)
    checkpoint(tmp_path / 'iter_35.pth', 35)  # as a signal leaves it
    checkpoint(tmp_path / 'iter_5.pth', 5)
    assert newest_whole_checkpoint(tmp_path).name == expected
    zero_the_middle(tmp_path / expected)
    following = dict(iter_35='epoch_3.pth', epoch_3='iter_35.pth')
    assert newest_whole_checkpoint(tmp_path).name == following[expected[:-4]]


def runner(work_dir: Path, resume: bool = True, **changes: object) -> Runner:
    name = f'choice_{next(_names)}'
    settings = toy_training.config(**changes)
    settings |= dict(work_dir=str(work_dir), experiment_name=name, resume=resume, custom_hooks=[])
    settings['train_cfg'] |= dict(max_iters=changes.get('iterations', 8))
    settings.pop('iterations', None)
    return Runner.from_cfg(Config(settings))


def test_files_that_a_pointer_or_another_folder_names(tmp_path: Path) -> None:
    hook = dict(
        type='AtomicCheckpointHook', interval=4, out_dir=str(tmp_path / 'big'), by_epoch=False,
        filename_tmpl='state_{}.pth',
    )  # fmt: skip
    made = runner(tmp_path / 'run', default_hooks=dict(checkpoint=hook))
    work_dir = tmp_path / 'run'
    kept = checkpoint(tmp_path / 'kept' / 'mine.pth', 3)
    (work_dir / 'last_checkpoint').write_text(str(kept))
    choose_start(made)
    assert made._load_from == str(kept)

    inside = checkpoint(tmp_path / 'big' / 'run' / 'state_4.pth', 4)
    made._load_from = None
    choose_start(made)
    assert made._resume is True and made._load_from == str(inside)

    (work_dir / 'last_checkpoint').write_text('s3://bucket/iter_7.pth')
    inside.unlink()
    made._load_from = None
    choose_start(made)
    assert made._load_from == 's3://bucket/iter_7.pth'


def test_a_first_start_begins_with_the_weights_it_was_given(tmp_path: Path) -> None:
    made = runner(tmp_path / 'run')
    choose_start(made, 'weights.pth')
    assert (made._resume, made._load_from) == (False, 'weights.pth')
    choose_start(made, 'others.pth')  # settled
    assert made._load_from == 'weights.pth'
    without = runner(tmp_path / 'other')
    choose_start(without)
    assert (without._resume, without._load_from) == (False, None)


@pytest.mark.parametrize('said', ['config', 'command line'])
def test_load_from_that_mmdets_tool_took_out_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    config = tmp_path / 'toy.py'
    Config(toy_training.config(load_from='in_config.pth')).dump(config)
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), resume=True, load_from=None))
    cfg.experiment_name = f'choice_{next(_names)}'
    arguments = ['train.py', str(config), '--resume', '--cfg-options', 'a.b=1']
    if said == 'command line':
        arguments += ['load_from=given.pth']
    monkeypatch.setattr(sys, 'argv', arguments)
    made = Runner.from_cfg(cfg)
    choose_start(made)
    expected = 'in_config.pth' if said == 'config' else 'given.pth'
    assert (made._resume, made._load_from) == (False, expected)


@pytest.mark.parametrize('loop', ['ResumableIterTrainLoop', 'IterBasedTrainLoop'])
def test_training_resumes_by_itself(tmp_path: Path, loop: str) -> None:
    changes = dict(
        train_cfg=dict(type=loop, max_iters=8, val_interval=8),
        default_hooks=dict(
            resume=dict(type='ResumeHook'),
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4),
        ),
    )
    first = runner(tmp_path, **changes)
    first.train()  # a first start with resume=True
    assert first.iter == 8
    zero_the_middle_of_any(tmp_path / 'iter_8.pth')
    again = runner(tmp_path, **changes)
    again.train()
    assert again._load_from == str(tmp_path / 'iter_4.pth') and again.iter == 8
    whole = torch.load(tmp_path / 'iter_8.pth', weights_only=False)
    assert whole['meta']['iter'] == 8


def zero_the_middle_of_any(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = max(archive.infolist(), key=lambda info: info.file_size)
    start = info.header_offset + 100
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
