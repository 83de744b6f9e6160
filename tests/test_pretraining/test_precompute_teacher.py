# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A teacher's embeddings that are computed once teach what the teacher would."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor

from helpers import proposals_world as world_of
from helpers import tiny_models
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.models.detectors import RegionCLIP


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with proposals and embeddings in both types; not to be changed."""
    world = world_of.make(tmp_path_factory.mktemp('world'), sizes=(3, 2))
    world_of.run(world, '--teacher', 'float32')
    world_of.run(world, '--teacher', '--out', world / 'half')
    return world


def dataset(world: Path, flip: float = 0.0, **changes: Any) -> ImageTextShards:
    changes = dict(teacher_embeddings=True, pipeline=world_of.pipelines(flip)[1]) | changes
    return DATASETS.build(world_of.config(world, **changes).train_dataloader.dataset)


def pretrainer(world: Path, **changes: Any) -> RegionCLIP:
    config = Config.fromfile(world / 'config.py').model
    config.roi_head.region_text_head.concept_threshold = 0.75
    model = MODELS.build({**config, 'num_regions': 5, **changes})
    model.ensure_weights(learning=True)
    return model


def losses(model: RegionCLIP, data: ImageTextShards, number: int) -> dict[str, Tensor]:
    batch = model.data_preprocessor(pseudo_collate([data[number]]), training=True)
    torch.manual_seed(number)
    return model.loss(batch['inputs'], batch['data_samples'])


@pytest.mark.parametrize(('folder', 'tolerance'), [('proposals', 1e-4), ('half', 2e-2)])
def test_losses_are_those_of_the_teacher(world: Path, folder: str, tolerance: float) -> None:
    path = str(world / 'shards' / folder if folder == 'proposals' else world / folder)
    data = dataset(world, proposals=path)
    without = pretrainer(world, teacher=None, stored_teacher=True)
    assert without.teacher is None
    with_teacher = pretrainer(world)
    shares = []
    for number in range(len(data)):
        found, wanted = losses(without, data, number), losses(with_teacher, data, number)
        assert found.keys() == wanted.keys() >= {'loss_region_distill', 'regions_kept'}
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=tolerance)
        shares.append(float(found['regions_kept']))
    assert any(0 < share < 1 for share in shares), shares


def test_the_student_learns_the_same(world: Path) -> None:
    data, gradients = dataset(world), []
    for changes in (dict(), dict(teacher=None, stored_teacher=True)):
        model = pretrainer(world, **changes)
        sum(v for k, v in losses(model, data, 2).items() if 'loss' in k).backward()
        gradients.append(model.backbone.layer3[0].conv1.weight.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_flipped_images_keep_the_labels_of_the_fixed_view(world: Path) -> None:
    straight, flipped = dataset(world)[1], dataset(world, flip=1.0)[1]
    found, wanted = (s['data_samples'].proposals for s in (flipped, straight))
    assert torch.equal(found.teacher_embeddings, wanted.teacher_embeddings)
    assert found.teacher_embeddings.dtype == torch.float32
    torch.testing.assert_close(found.teacher_embeddings.norm(dim=1), torch.ones(len(found)))
    assert not torch.equal(found.bboxes, wanted.bboxes)


def test_embeddings_of_proposals_that_are_there(world: Path, tmp_path: Path) -> None:
    """The localizer is not run again, and the files are the same."""
    out = tmp_path / 'later'
    shutil.copytree(world / 'half', out)
    for path in out.glob('*.teacher.npz'):
        path.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob('*.proposals.npz')}
    world_of.run(world, '--teacher', '--out', out)
    assert {p.name: p.stat().st_mtime_ns for p in out.glob('*.proposals.npz')} == before
    assert world_of.contents(out) == world_of.contents(world / 'half')
    message = r'00000\.teacher\.npz was made with other settings: dtype differ'
    with pytest.raises(SystemExit, match=message):
        world_of.run(world, '--teacher', 'float32', '--out', out)
    world_of.run(world, '--teacher', 'float32', '--out', out, '--overwrite')
    with np.load(out / '00001.teacher.npz') as content:
        assert content['embeddings'].dtype == np.float32


def test_a_damaged_image_has_no_embeddings(tmp_path: Path) -> None:
    world = world_of.make(tmp_path, sizes=(3,), broken=(1,))
    world_of.run(world)
    first = world_of.contents(world / 'shards' / 'proposals')
    # the list that the first run has written does not make the second forget what it lists
    world_of.run(
        world,
        '--teacher',
        '--cfg-options',
        'train_dataloader.dataset.exclude=proposals/broken.tsv',
    )
    second = world_of.contents(world / 'shards' / 'proposals')
    assert {name: second[name] for name in first} == first
    assert b'000000001' in first['broken.tsv']
    data = dataset(world, exclude='proposals/broken.tsv')
    assert len(data) == 2
    for number in range(2):
        proposals = data[number]['data_samples'].proposals
        assert len(proposals) > 5 and proposals.teacher_embeddings.dtype == torch.float16


def test_an_image_that_was_sound_before_is_missed(tmp_path: Path) -> None:
    world = world_of.make(tmp_path, sizes=(3,))
    world_of.run(world)
    world_of.write_shards(world / 'shards', (3,), broken=(1,))
    with pytest.raises(SystemExit, match='000000001.* could be read when its proposals were made'):
        world_of.run(world, '--teacher')


def test_pseudo_labels_are_those_of_the_teacher(world: Path) -> None:
    data, found = dataset(world), []
    for changes in (dict(), dict(teacher=None, stored_teacher=True)):
        model = pretrainer(world, **changes)
        batch = model.data_preprocessor(pseudo_collate([data[0]]), training=False)
        torch.manual_seed(0)
        found.append(model.predict(batch['inputs'], batch['data_samples'])[0].pred_instances)
    assert torch.equal(found[0].labels, found[1].labels) and len(found[0]) > 0
    torch.testing.assert_close(found[0].scores, found[1].scores, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused(world: Path) -> None:
    model = pretrainer(world, teacher=None, stored_teacher=True)
    with pytest.raises(ValueError, match=r'000000000\.png carry no teacher_embeddings'):
        losses(model, dataset(world, teacher_embeddings=False), 0)
    tiny_models.vocabulary(dim=16).save(world / 'narrow.pth')
    config = Config.fromfile(world / 'config.py').model
    config.roi_head.region_text_head.teacher_concept_pool = str(world / 'narrow.pth')
    model = MODELS.build({**config, 'teacher': None, 'stored_teacher': True})
    model.ensure_weights(learning=True)
    with pytest.raises(ValueError, match=r'have shape \(5, 32\).* pool has width 16'):
        model.num_regions = 5
        losses(model, dataset(world), 0)
    with pytest.raises(ValueError, match='runs no teacher: set teacher=None'):
        MODELS.build(tiny_models.regionclip_config(stored_teacher=True))
    alone = tiny_models.regionclip_config(
        stored_teacher=True, teacher=None, roi_head=dict(region_text_head=None)
    )
    assert not MODELS.build(alone).stored_teacher


def test_a_config_without_a_teacher_is_refused(world: Path, tmp_path: Path) -> None:
    cfg = world_of.config(world)
    cfg.model.teacher = None
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match='The config has no teacher'):
        world_of.run(tmp_path, '--teacher', '--out', tmp_path)
