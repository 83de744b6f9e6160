# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints of a pretraining by two processes: what they hold, and that runs go on from them."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
import torch

from helpers import gloo_ranks
from helpers import watched_pretraining as watched

WATCHED = [
    dict(type='ThroughputHook'),
    dict(type='BrokenImagesHook', interval=2),
    dict(type='PseudoLabelVisualizationHook', interval=4, num_images=1),
]
RUNS = ('straight', 'resumed', 'whole')


def work(rank: int) -> dict:
    os.environ['LOCAL_RANK'] = str(rank)
    folder = Path(os.environ['FOLDER'])
    settings = dict(launcher='pytorch', validates=False)
    # no seed of the run's own: a checkpoint carries the one that was drawn
    unseeded = settings | dict(randomness=dict(seed=None))
    watched.train(folder, folder / 'straight', hooks=WATCHED, **unseeded)
    file = str(folder / 'straight' / 'iter_2.pth')
    watched.train(folder, folder / 'resumed', load_from=file, resume=True, **unseeded)
    cfg = watched.config(folder, folder)
    model = dict(cfg.model, save_frozen=True)
    watched.train(folder, folder / 'whole', model=model, **settings)
    return {name: watched.losses(folder / name, rank) for name in RUNS}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('checkpoints')
    watched.make_files(root)
    return root


@pytest.fixture(scope='module')
def ranks(folder: Path) -> list[dict]:
    with mock.patch.dict(os.environ, FOLDER=str(folder)):
        return gloo_ranks.run_ranks(__file__, 2, folder)


def read(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def parts(checkpoint: dict) -> set[str]:
    return {key.split('.')[0] for key in checkpoint['state_dict']}


@pytest.mark.slow
def test_all_processes_go_on_exactly(ranks: list[dict], folder: Path) -> None:
    for found in ranks:
        assert [entry['iter'] for entry in found['straight']] == list(range(6))
        # images, drawn regions (teacher_score, regions_kept) and all losses, to the last bit
        assert found['resumed'] == found['straight'][2:]
    # each process has data and random numbers of its own
    one, other = (found['straight'] for found in ranks)
    assert all(a['images'] != b['images'] for a, b in zip(one, other, strict=True))
    assert watched.equal_weights(folder / 'straight' / 'iter_6.pth', folder / 'resumed/iter_6.pth')


@pytest.mark.slow
def test_the_straight_run_was_watched(ranks: list[dict], folder: Path) -> None:
    lines = watched.scalars(folder / 'straight')
    assert [line['step'] for line in lines if 'images_per_second' in line] == [2, 4, 6]
    assert [line['images_skipped'] for line in lines] == [0, 0, 0]
    found = sorted(path.name for path in (folder / 'straight').glob('*/vis_data/vis_image/*'))
    assert found == ['pseudo_labels_0_1.png', 'pseudo_labels_0_4.png']
    assert not list((folder / 'resumed').glob('*/vis_data/vis_image/*'))


@pytest.mark.slow
def test_student_optimizer_and_position_but_nothing_frozen(ranks: list[dict], folder: Path) -> None:
    checkpoint = read(folder / 'straight' / 'iter_4.pth')
    assert parts(checkpoint) == {'backbone', 'roi_head'}
    momentum = [state['momentum_buffer'] for state in checkpoint['optimizer']['state'].values()]
    assert momentum and any(buffer.abs().sum() > 0 for buffer in momentum)
    position = checkpoint['data_position']
    assert (position['batch'], position['batch_size'], position['world_size']) == (4, 2, 2)
    assert checkpoint['meta']['iter'] == 4 and isinstance(checkpoint['meta']['seed'], int)


@pytest.mark.slow
def test_unless_it_is_asked_for(ranks: list[dict], folder: Path) -> None:
    whole = read(folder / 'whole' / 'iter_4.pth')
    assert parts(whole) == {'backbone', 'roi_head', 'teacher', 'text_encoder'}
    # frozen: as in the file they came from
    clip = torch.load(folder / 'clip.pth', weights_only=False)
    teacher = whole['state_dict']['teacher.backbone.layer3.0.conv1.weight']
    student = whole['state_dict']['backbone.layer3.0.conv1.weight']
    assert torch.equal(teacher, clip['visual.layer3.0.conv1.weight'])
    assert not torch.equal(student, teacher)


if __name__ == '__main__':
    gloo_ranks.main(work)
