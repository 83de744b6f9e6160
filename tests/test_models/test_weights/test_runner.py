# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Weights through mmengine's stock Runner: start, save, resume, transfer, test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor

from helpers import tiny_models, tiny_runner


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny_models.save_clip(tmp_path / 'clip.pth', seed=11)


@pytest.fixture
def rpn(tmp_path: Path) -> Path:
    return tiny_models.save_localizer(tmp_path / 'localizer.pth', seed=12)


def pretraining(clip: Path, rpn: Path, folder: Path, **settings: object) -> Runner:
    config = tiny_models.regionclip_config(
        clip,
        localizer=tiny_models.localizer(rpn),
        text_encoder=tiny_models.text_encoder(clip),
        data_preprocessor=tiny_runner.PREPROCESSOR,
    )
    return tiny_runner.make_runner(MODELS.build(config), folder, with_proposals=False, **settings)


def detection(clip: Path, rpn: Path, folder: Path, with_reg: bool = True, **kw: object) -> Runner:
    config = tiny_models.detector_config(
        clip,
        localizer=tiny_models.localizer(rpn),
        data_preprocessor=tiny_runner.PREPROCESSOR,
        bbox_head=dict(with_reg=with_reg),
    )
    return tiny_runner.make_runner(MODELS.build(config), folder, with_proposals=False, **kw)


def saved(folder: Path, iteration: int) -> dict[str, Tensor]:
    return torch.load(folder / f'iter_{iteration}.pth')['state_dict']


def test_pretraining_is_saved_and_resumed(clip: Path, rpn: Path, tmp_path: Path) -> None:
    first = pretraining(clip, rpn, tmp_path / 'a')
    first.train()
    state = saved(tmp_path / 'a', 1)
    assert {key.split('.')[0] for key in state} == {'backbone', 'roi_head'}
    start = torch.load(clip)
    conv = 'layer3.0.conv1.weight'
    assert not torch.equal(state[f'backbone.{conv}'], start[f'visual.{conv}'])

    resumed = dict(resume=True, load_from=str(tmp_path / 'a' / 'iter_1.pth'))
    second = pretraining(clip, rpn, tmp_path / 'b', max_iters=2, **resumed)
    seen: list[Tensor] = []
    second.model.backbone.register_forward_pre_hook(
        lambda *a: seen.append(second.model.backbone.layer3[0].conv1.weight.detach().clone())
    )
    second.train()
    assert second.iter == 2 and len(seen) == 1
    assert torch.equal(seen[0], state[f'backbone.{conv}'])  # not CLIP's any more
    model = second.model
    assert torch.equal(model.teacher.backbone.layer3[0].conv1.weight, start[f'visual.{conv}'])
    expected = torch.load(rpn)['state_dict']
    own = model.localizer.state_dict()
    assert all(torch.equal(own[key], value) for key, value in expected.items())


def test_from_pretraining_to_a_tested_detector(clip: Path, rpn: Path, tmp_path: Path) -> None:
    pretraining(clip, rpn, tmp_path / 'pretrain').train()
    state = saved(tmp_path / 'pretrain', 1)
    transfer = detection(
        clip,
        rpn,
        tmp_path / 'transfer',
        load_from=str(tmp_path / 'pretrain' / 'iter_1.pth'),
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
    )
    seen: list[Tensor] = []
    transfer.model.backbone.register_forward_pre_hook(
        lambda *a: seen.append(transfer.model.backbone.layer3[0].conv1.weight.detach().clone())
    )
    transfer.train()
    assert torch.equal(seen[0], state['backbone.layer3.0.conv1.weight'])
    trained = saved(tmp_path / 'transfer', 1)
    assert 'localizer.rpn_head.rpn_cls.weight' in trained
    assert bytes(trained['roi_head.bbox_head.classifier.names_utf8'].tolist()) == (
        b'["cat", "dog", "red ball"]'
    )

    checkpoint = str(tmp_path / 'transfer' / 'iter_1.pth')
    fresh = detection(clip, rpn, tmp_path / 'test', load_from=checkpoint)
    metrics = fresh.test()
    assert metrics['found/count'] > 2
    assert set(fresh.model.weight_sources().values()) == {f'checkpoint {checkpoint}'}


def test_testing_without_any_checkpoint(clip: Path, rpn: Path, tmp_path: Path) -> None:
    """Zero-shot with CLIP itself; ``Runner.test`` does not call ``init_weights``."""
    runner = detection(clip, rpn, tmp_path / 'zero_shot', with_reg=False)
    metrics = runner.test()
    reference = detection(clip, rpn, tmp_path / 'again', with_reg=False)
    reference.model.init_weights()
    assert metrics['found/count'] > 2
    assert metrics['found/sum'] == pytest.approx(reference.test()['found/sum'])
    with pytest.raises(RuntimeError, match='fc_reg.* holds random weights'):
        detection(clip, rpn, tmp_path / 'refused').test()
