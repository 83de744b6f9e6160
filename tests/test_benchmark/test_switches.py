# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Speed-ups can be taken away one by one, and none of them changes a result."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d as CLIPAttentionPool2d

from benchmarks import (
    SWITCHES,
    InferenceWorkload,
    PretrainingWorkload,
    Settings,
    ladder,
    switched_off,
)
from helpers import tiny_models
from regionclip_mmdet.models.backbones import folding

TINY = dict(
    arch=tiny_models.ARCH,
    text_arch=tiny_models.TEXT_ARCH,
    image_size=(64, 96),
    proposals=12,
    names=5,
    localizer=False,
)


@lru_cache(maxsize=1)
def inference() -> InferenceWorkload:
    task = InferenceWorkload(Settings(**TINY, objectness='logit'))
    tiny_models.fill(task.model, seed=1)
    return task


@lru_cache(maxsize=1)
def pretraining() -> PretrainingWorkload:
    task = PretrainingWorkload(Settings(**TINY, batch_size=2))
    tiny_models.fill(task.model, seed=1)
    task.model.teacher.backbone.load_state_dict(task.model.backbone.state_dict())
    return task


def test_ladder_adds_one_switch_at_a_time() -> None:
    assert ladder('inference') == [
        (),
        ('pool',),
        ('pool', 'fold'),
        ('pool', 'fold', 'channels_last'),
        ('pool', 'fold', 'channels_last', 'roi_align'),
        ('pool', 'fold', 'channels_last', 'roi_align', 'project'),
        ('pool', 'fold', 'channels_last', 'roi_align', 'project', 'early_exit'),
    ]
    assert ladder('pretraining')[-1] == ('proposals', *ladder('inference')[-2], 'shared')
    assert ladder('pretraining', without=['proposals'])[1] == ('pool',)


@pytest.mark.parametrize(
    'name', ['pool', 'fold', 'channels_last', 'roi_align', 'project', 'early_exit']
)
def test_detections_stay_the_same(name: str) -> None:
    task = inference()
    expected = task.step()
    with switched_off(task.model, [name]):
        found = task.step()
    assert len(expected['scores']) > 3
    assert torch.equal(found['labels'], expected['labels'])
    torch.testing.assert_close(found['scores'], expected['scores'], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found['bboxes'], expected['bboxes'], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    'name', ['pool', 'fold', 'channels_last', 'roi_align', 'project', 'shared']
)
def test_losses_stay_the_same(name: str) -> None:
    task = pretraining()
    expected = task.step()
    with switched_off(task.model, [name]):
        found = task.step()
    assert expected['loss_region_distill'] > 1e-3
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


def test_localizer_is_asked_only_without_the_switch_for_proposals() -> None:
    task = PretrainingWorkload(Settings(**TINY | dict(localizer=True), batch_size=2))
    calls: list[int] = []
    task.model.localizer.register_forward_hook(lambda *args: calls.append(1))
    expected = task.step()
    assert not calls
    with switched_off(task.model, ['proposals']):
        found = task.step()
    assert len(calls) == 1
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_switches_really_switch_and_switch_back() -> None:
    task = inference()
    pool, encoder = task.model.roi_head.region_encoder.attnpool, task.model.roi_head.region_encoder
    original = folding.conv_norm
    with switched_off(task.model, list(SWITCHES)):
        assert pool.forward.func is CLIPAttentionPool2d.forward
        assert folding.conv_norm is not original
        assert not encoder.channels_last and not task.model.backbone.channels_last
        assert not encoder.roi_align.by_positions and not encoder.project_first
        assert task.model.roi_head.test_cfg.early_exit is False
    assert not hasattr(pool.forward, 'func')
    assert folding.conv_norm is original
    assert encoder.channels_last and task.model.backbone.channels_last
    assert encoder.roi_align.by_positions and encoder.project_first
    assert task.model.roi_head.test_cfg.early_exit is True


def test_early_exit_leaves_regions_out() -> None:
    task = inference()
    counted: list[int] = []
    handle = task.model.roi_head.region_encoder.roi_align.register_forward_hook(
        lambda module, args, output: counted.append(len(args[1]))
    )
    task.step()
    exited = sum(counted)
    counted.clear()
    with switched_off(task.model, ['early_exit']):
        task.step()
    handle.remove()
    # the logits fall evenly from +5 to -5
    assert exited <= 6 < sum(counted) == 12
