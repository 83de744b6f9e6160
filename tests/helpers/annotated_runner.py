# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A runner with a tiny detector on annotated images in files, for tests of checks of the data."""

from __future__ import annotations

import json
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.runner import Runner
from PIL import Image

from helpers import tiny_models, tiny_runner

NAMES = tiny_models.NAMES
SPLIT = dict(base_classes=NAMES[:2], novel_classes=NAMES[2:])
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='ProposalsFromGT'),
    dict(type='PackDetInputs'),
]


def write(folder: Path, number: int = 3, **changes: object) -> None:
    """Images of 64 x 64, one box in each but the last; ``changes`` apply to box 0."""
    (folder / 'im').mkdir(parents=True, exist_ok=True)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=64, height=64) for i in range(number)],
        annotations=[
            dict(id=i, image_id=i, category_id=i % 3, bbox=[4, 4, 30, 30], area=900, iscrowd=0)
            for i in range(number - 1)
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(NAMES)],
    )
    content['annotations'][0].update(changes)
    (folder / 'a.json').write_text(json.dumps(content))
    for i in range(number):
        Image.new('RGB', (64, 64), (i * 9, 90, 30)).save(folder / 'im' / f'{i}.png')


def dataset_config(folder: Path, metainfo: dict | None = None, **settings: object) -> dict:
    return dict(
        type='CocoDataset',
        ann_file='a.json',
        data_root=str(folder),
        data_prefix=dict(img='im'),
        metainfo=dict(classes=NAMES, **(metainfo or {})),
        pipeline=PIPELINE,
        **settings,
    )


def make_runner(
    folder: Path,
    train: Path,
    test: Path,
    metainfo: dict | None = None,
    hook: dict | None = None,
    metric: str = 'CocoMetric',
    checkpoint: dict | None = None,
    max_iters: int = 1,
    val_interval: int = 100,
) -> Runner:
    """Trains one iteration on all images of ``train``, evaluates on ``test``.

    Args:
        folder: Its ``work`` is the work dir.
        train: Folder of the training data, see ``write``.
        test: Folder of the test data.
        metainfo: Of the datasets, beside the classes.
        hook: Settings of the ``DatasetCheckHook``.
        metric: Of validation and test.
        checkpoint: Checkpoint hook.
        max_iters: Iterations.
        val_interval: Iterations between validations.
    """

    def loader(path: Path, **settings: object) -> dict:
        return dict(
            batch_size=3,
            dataset=dataset_config(path, metainfo, **settings),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )

    config = tiny_models.detector_config(data_preprocessor=tiny_runner.PREPROCESSOR)
    evaluator = dict(type=metric, ann_file=str(test / 'a.json'), metric='bbox')
    return Runner(
        MODELS.build(config),
        work_dir=str(folder / 'work'),
        train_dataloader=loader(train),
        train_cfg=dict(by_epoch=False, max_iters=max_iters, val_interval=val_interval),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4)),
        val_dataloader=loader(test, test_mode=True),
        val_cfg=dict(),
        val_evaluator=evaluator,
        test_dataloader=loader(test, test_mode=True),
        test_cfg=dict(),
        test_evaluator=evaluator,
        custom_hooks=[dict(type='DatasetCheckHook', **(hook or {}))],
        default_hooks=dict(
            checkpoint=dict(
                dict(type='CheckpointHook', by_epoch=False, interval=1), **(checkpoint or {})
            )
        ),
        default_scope='mmdet',
        experiment_name=folder.name,
    )
