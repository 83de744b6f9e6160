# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A standard Runner over two noise images, for tests of what only a runner does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from helpers import tiny_models
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

PREPROCESSOR = dict(
    type='mmdet.DetDataPreprocessor', mean=list(CLIP_MEAN), std=list(CLIP_STD), bgr_to_rgb=True
)
SIZE = (64, 64)
BOXES = torch.tensor([[4.0, 4.0, 40.0, 36.0], [10.0, 20.0, 60.0, 60.0]])


class NoiseImages(Dataset):
    """Two captioned noise images whose categories have the given names."""

    def __init__(self, names: Sequence[str] | None, with_proposals: bool = True) -> None:
        self.metainfo = dict(classes=tuple(names)) if names else {}
        self.proposals = [BOXES] if with_proposals else None

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        (sample,) = tiny_models.samples(SIZE, captions=['a cat'], proposals=self.proposals)
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, *SIZE), generator=generator)
        return dict(inputs=image.to(torch.uint8), data_samples=sample)


class SumOfScores(BaseMetric):
    default_prefix = 'found'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.results.extend(sample['pred_instances']['scores'] for sample in data_samples)

    def compute_metrics(self, results: list[torch.Tensor]) -> dict:
        scores = torch.cat(results)
        return dict(count=len(scores), sum=float(scores.sum()))


def make_runner(
    model: nn.Module,
    folder: Path,
    train: Sequence[str] | None = tiny_models.NAMES,
    test: Sequence[str] | None = tiny_models.NAMES,
    with_proposals: bool = True,
    max_iters: int = 1,
    **settings: object,
) -> Runner:
    """Trains iterations of two images with SGD; evaluates with ``SumOfScores``."""

    def loader(names: Sequence[str] | None) -> dict:
        return dict(
            batch_size=2,
            dataset=NoiseImages(names, with_proposals),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )

    return Runner(
        model,
        work_dir=str(folder),
        train_dataloader=loader(train),
        train_cfg=dict(by_epoch=False, max_iters=max_iters, val_interval=1000),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4, momentum=0.9)),
        val_dataloader=loader(test),
        val_cfg=dict(),
        val_evaluator=Evaluator(SumOfScores()),
        test_dataloader=loader(test),
        test_cfg=dict(),
        test_evaluator=Evaluator(SumOfScores()),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        default_scope='mmdet',
        experiment_name=folder.name,
        randomness=dict(seed=0),
        **settings,
    )
