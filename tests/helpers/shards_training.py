# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A training run of milliseconds on shards, which writes down what each iteration saw.

Used in this process and, with its folder on ``PYTHONPATH``, by ``tools/train.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel

from helpers import generated_shards as made

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'text')),
]


@MODELS.register_module()
class Brightness(BaseModel):
    """One weight; refuses captions of other images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor') -> Any:
        numbers = [made.number_in(image.cpu()) for image in inputs]
        assert [int(s.text.split()[-1]) for s in data_samples] == numbers
        return dict(loss=self.weight * torch.stack(inputs).float().mean())


@HOOKS.register_module()
class KeysSeen(Hook):
    """Writes a line per iteration to ``keys_RANK.jsonl`` in the work dir."""

    # before the checkpoint of the iteration, and before an accident
    priority = 'HIGH'

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        line = dict(iter=runner.iter, keys=[s.img_id for s in data_batch['data_samples']])
        with open(Path(runner.work_dir) / f'keys_{get_rank()}.jsonl', 'a') as file:
            file.write(json.dumps(line) + '\n')


def keys_seen(work_dir: Path, rank: int = 0) -> dict[int, list[str]]:
    """Keys of each iteration; of repeated ones the last."""
    lines = (work_dir / f'keys_{rank}.jsonl').read_text().splitlines()
    return {entry['iter']: entry['keys'] for entry in map(json.loads, lines)}


def config(data: Path, max_iters: int, batch_size: int, **changes: Any) -> dict:
    """A checkpoint every four iterations; no seed, so that checkpoints must carry it."""
    settings = dict(
        default_scope='mmdet',
        custom_imports=dict(
            imports=['regionclip_mmdet', 'helpers.shards_training', 'helpers.toy_training'],
            allow_failed_imports=False,
        ),
        model=dict(type='Brightness'),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=2,
            sampler=dict(type='ShardSampler', buffer_shards=2),
            dataset=dict(
                type='ImageTextShards', shards='*.tar', data_root=str(data), pipeline=PIPELINE
            ),
        ),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=1000),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4)
        ),
        custom_hooks=[dict(type='KeysSeen')],
        log_processor=dict(by_epoch=False),
    )
    return settings | changes
