# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Runners of several processes: metrics of uneven test sets, norms that must not change."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel, convert_sync_batchnorm, is_model_wrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

import regionclip_mmdet  # noqa: F401
from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers import gloo_ranks, tiny_models, tiny_runner
from regionclip_mmdet.compat import prepare_launch
from regionclip_mmdet.datasets.shapes_world import CLASSES

NUM_IMAGES = 7  # neither 2 nor 3 processes share them evenly


class Shaken(BaseModel):
    """Finds the annotated boxes, a little beside their places, some under wrong names."""

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor') -> list:
        for sample in data_samples:
            generator = torch.Generator().manual_seed(int(sample.img_id))
            truth = sample.gt_instances
            boxes = truth.bboxes.tensor if hasattr(truth.bboxes, 'tensor') else truth.bboxes
            wrong = torch.rand(len(boxes), generator=generator) < 0.3
            sample.pred_instances = InstanceData(
                bboxes=boxes + torch.randn(boxes.shape, generator=generator) * 3,
                labels=torch.where(wrong, (truth.labels + 1) % len(CLASSES), truth.labels),
                scores=torch.rand(len(boxes), generator=generator),
            )
        return data_samples


def dataset(world: Path) -> dict:
    pipeline = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
    ]
    return dict(
        type='ShapesWorldDataset',
        data_root=str(world),
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=pipeline,
    )


def coco_metrics(world: Path, folder: Path, round_up: bool) -> dict[str, float]:
    annotations = str(world / 'instances.json')
    metrics = [
        dict(type='CocoMetric', ann_file=annotations, prefix='stock'),
        dict(type='OVCocoAPMetric', ann_file=annotations, prefix='ours'),
    ]
    runner = Runner(
        Shaken(),
        work_dir=str(folder),
        test_dataloader=dict(
            batch_size=2,
            dataset=dataset(world),
            sampler=dict(type='DefaultSampler', shuffle=False, round_up=round_up),
            collate_fn=dict(type='pseudo_collate'),
        ),
        test_cfg=dict(),
        test_evaluator=metrics,
        default_scope='mmdet',
        experiment_name=f'{folder.name}_{round_up}',
    )
    return runner.test()


def norms(model: nn.Module) -> dict[str, Tensor]:
    return {
        key: value.clone()
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d))
        for key, value in ((f'{name}.{k}', v) for k, v in module.state_dict().items())
    }


def detector() -> nn.Module:
    torch.manual_seed(0)
    config = tiny_models.detector_config(
        localizer=tiny_models.localizer(), data_preprocessor=tiny_runner.PREPROCESSOR
    )
    return tiny_models.fill(MODELS.build(config))


def train(folder: Path) -> dict:
    """Three steps of a detector with a localizer; what became of norms and weights."""
    model = detector()
    before = norms(model)
    cfg = Config(dict(launcher='pytorch', sync_bn='torch'))
    prepare_launch(cfg)
    runner = tiny_runner.make_runner(
        model, folder, with_proposals=False, max_iters=3, launcher='pytorch', cfg=cfg
    )
    model.init_weights = lambda: None  # norms keep the numbers they were filled with
    runner.train()
    assert is_model_wrapper(runner.model)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    return dict(before=before, after=norms(model), weights=weights)


def work(rank: int) -> dict:
    os.environ['LOCAL_RANK'] = str(rank)
    folder = Path(os.environ['FOLDER'])
    found = {
        f'coco {up}': coco_metrics(folder / 'world', folder / 'test', up) for up in (True, False)
    }
    return found | dict(trained=train(folder / 'trained'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('runners')
    spec = ShapesWorldSpec('scenes', NUM_IMAGES)
    make_shapes_world(root / 'world', spec, num_workers=1, progress=False)
    return root


@pytest.fixture(scope='module', params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, folder: Path) -> list[dict]:
    place = folder / str(request.param)
    place.mkdir()
    (place / 'world').symlink_to(folder / 'world')
    with mock.patch.dict(os.environ, FOLDER=str(place)):
        return gloo_ranks.run_ranks(__file__, request.param, place)


@pytest.mark.parametrize('round_up', [True, False])
def test_coco_metrics_are_those_of_one_process(
    ranks: list[dict], folder: Path, round_up: bool
) -> None:
    expected = coco_metrics(folder / 'world', folder / 'alone', round_up=True)
    assert 0.05 < expected['stock/bbox_mAP'] < 0.95 and 0.05 < expected['ours/bbox_mAP'] < 0.95
    for found in ranks:
        assert found[f'coco {round_up}'] == expected


def test_norms_do_not_change(ranks: list[dict]) -> None:
    start = {k: v for k, v in detector().state_dict().items()}
    for found in ranks:
        before, after = (found['trained'][when] for when in ('before', 'after'))
        assert len(before) > 100 and after.keys() == before.keys()
        for key, value in before.items():
            assert torch.equal(after[key], value), key
        weights = found['trained']['weights']
        assert not torch.equal(
            weights['backbone.layer3.0.conv1.weight'], start['backbone.layer3.0.conv1.weight']
        )
        for key, value in ranks[0]['trained']['weights'].items():
            assert torch.equal(weights[key], value), key


def test_norms_made_ready_for_gpus() -> None:
    """``sync_bn`` of a config; torch wraps the result on GPUs alone, here it is only called."""
    plain = detector()
    synced = convert_sync_batchnorm(detector(), 'torch')
    kinds = [{type(m).__name__ for m in model.localizer.modules()} for model in (plain, synced)]
    assert ['SyncBatchNorm' in found for found in kinds] == [False, True]
    assert 'BatchNorm2d' in kinds[0] - kinds[1]
    assert not any('SyncBatchNorm' in type(m).__name__ for m in synced.backbone.modules())
    results = []
    for model in (plain, synced):
        model.train()
        before = norms(model)
        torch.manual_seed(1)
        losses = model.loss(tiny_models.images((64, 80)), tiny_models.samples((64, 80)))
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        grads = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        results.append(({k: torch.as_tensor(v) for k, v in losses.items()}, grads))
        assert all(torch.equal(value, before[key]) for key, value in norms(model).items())
    for one, other in zip(*results):
        assert one.keys() == other.keys() and len(one) > 1
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-6, msg=key)


if __name__ == '__main__':
    gloo_ranks.main(work)
