# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer and teacher of a config, on whatever device; shards of the other kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from helpers import generated_shards as made
from helpers import proposals_world as world_of
from regionclip_mmdet.pretraining import ProposalMaker, fixed_view, from_config
from regionclip_mmdet.resumable_job import weights_hash


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world_of.make(tmp_path_factory.mktemp('world'), sizes=(3,))


def maker(world: Path, **changes: object) -> ProposalMaker:
    cfg = world_of.config(world)
    found = ProposalMaker(
        from_config.localizer_config(cfg),
        cfg.model.data_preprocessor,
        from_config.teacher_config(cfg),
        **changes,
    )
    found.ensure_weights()
    return found


def sample(world: Path, number: int) -> dict:
    cfg = world_of.config(world)
    view = fixed_view(cfg.train_dataloader.dataset.pipeline)
    return from_config.build_dataset(cfg, view)[number]


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_results_do_not_depend_on_the_device(
    world: Path, device: torch.device, precision: str
) -> None:
    """In bfloat16 only kinds and ranges are compared: rounding decides which boxes are kept."""
    image = sample(world, 0)
    wanted = maker(world).make([image])[0]
    found = maker(world, precision=precision).to(device).make([image])[0]
    for part in (found.boxes, found.objectness):
        assert part.dtype == np.float32 and np.isfinite(part).all()
    assert found.embeddings.dtype == np.float16 and found.embeddings.shape == (len(found[0]), 32)
    assert 0 <= found.boxes.min() and found.boxes.max() <= 1
    if precision == 'float32':
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)
        np.testing.assert_allclose(found.objectness, wanted.objectness, atol=1e-3)
        np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=5e-3)


def test_images_of_several_sizes_are_refused(world: Path) -> None:
    with pytest.raises(ValueError, match='must have one size'):
        maker(world).make([sample(world, 0), sample(world, 1)])
    with pytest.raises(ValueError, match="not 'float8'"):
        maker(world, precision='float8')


def test_the_hash_is_of_all_weights(world: Path) -> None:
    localizer = maker(world).localizer
    first = weights_hash(localizer)
    assert first == weights_hash(maker(world).localizer)
    for tensor in (localizer.rpn_head.rpn_cls.bias, localizer.backbone.bn1.running_mean):
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor[0] += 1e-6
        assert weights_hash(localizer) != first
        with torch.no_grad():
            tensor.copy_(before)
    assert weights_hash(localizer) == first


def test_tsv_files(tmp_path: Path) -> None:
    """The layout of the official code, by the tool."""
    world_of.make(tmp_path, sizes=(1,))
    made.write_tsv(tmp_path / 'tsv', 0, [300, 5, 40], ['a', 'b', 'c'])
    changes = dict(type='ImageTextTSV', shards='images_*.tsv', data_root=str(tmp_path / 'tsv'))
    world_of.config(tmp_path, **changes).dump(tmp_path / 'config.py')
    world_of.run(tmp_path)
    assert (tmp_path / 'tsv' / 'proposals' / 'images_0.proposals.npz').is_file()
    cfg = world_of.config(tmp_path, **changes)
    data = DATASETS.build(cfg.train_dataloader.dataset)
    one = maker(tmp_path)
    view = fixed_view(cfg.train_dataloader.dataset.pipeline)
    plain = from_config.build_dataset(cfg, view)
    for number in range(3):
        found = data[number]['data_samples'].proposals
        wanted = one.make([plain[number]])[0]
        assert len(found) > 3
        scale = np.array([128, 96, 128, 96])
        np.testing.assert_allclose(found.bboxes, wanted.boxes * scale, atol=1e-3)
        np.testing.assert_array_equal(found.objectness_logits, wanted.objectness)
