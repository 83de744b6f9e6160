# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region-text pretraining of a tiny model on a few scenes, to be watched in tests."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from mmdet.registry import DATASETS, HOOKS, MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers import tiny_models
from regionclip_mmdet.compat import prepare_launch
from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD
from regionclip_mmdet.models.text import TextEmbeddings

NUM_IMAGES = 7  # two processes do not share them evenly
LOAD = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
]
TRAIN_PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomProposals', num_proposals=12),
    dict(type='PickCaption'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'img_shape', 'text')),
]
VAL_PIPELINE = [
    *LOAD,
    dict(type='ProposalsFromGT'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
PREPROCESSOR = dict(
    type='DetDataPreprocessor', mean=list(CLIP_MEAN), std=list(CLIP_STD), bgr_to_rgb=True
)
_names = itertools.count()


@HOOKS.register_module()
class LossDiary(Hook):
    """Writes the losses of each iteration to ``losses_RANK.jsonl`` in the work dir."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        line = {key: value.item() for key, value in outputs.items()}
        images = [sample.img_id for sample in data_batch['data_samples']]
        assert runner.model.training
        with open(Path(runner.work_dir) / f'losses_{get_rank()}.jsonl', 'a') as file:
            file.write(json.dumps(dict(line, iter=runner.iter, images=images)) + '\n')


def losses(work_dir: Path, rank: int = 0) -> list[dict]:
    """What ``LossDiary`` wrote."""
    lines = (work_dir / f'losses_{rank}.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def scalars(work_dir: Path) -> list[dict]:
    """What the run's local visualization backend wrote."""
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def make_files(folder: Path) -> None:
    """Scenes, weights, concepts and names."""
    spec = ShapesWorldSpec('scenes', NUM_IMAGES)
    make_shapes_world(folder / 'world', spec, num_workers=1, progress=False)
    tiny_models.save_clip(folder / 'clip.pth')
    with DefaultScope.overwrite_default_scope('mmdet'):
        save_texts(folder)


@torch.no_grad()
def save_texts(folder: Path) -> None:
    """Names of which the untrained student finds many, and concepts.

    Regions of a tiny random network all point nearly the same way. Texts at right angles to it are
    told apart by what is left; names are near their objects' embeddings.
    """
    backbone, encoder = (
        MODELS.build(part(str(folder / 'clip.pth')))
        for part in (tiny_models.backbone, tiny_models.encoder)
    )
    preprocessor = MODELS.build(PREPROCESSOR)
    found, labels = [], []
    for module in (backbone, encoder):
        module.init_weights()
    for item in DATASETS.build(annotated(folder)):
        batch = preprocessor(pseudo_collate([item]))
        (sample,) = batch['data_samples']
        rois = bbox2roi([sample.proposals.bboxes])
        found.append(encoder.eval()(backbone.eval()(batch['inputs']), rois))
        labels.append(sample.gt_instances.labels)
    regions = F.normalize(torch.cat(found))
    common = F.normalize(regions.mean(0), dim=0)
    names = 0.1 * tiny_models.vocabulary(CLASSES, seed=8).matrix
    names.index_add_(0, torch.cat(labels), F.normalize(regions - regions.mean(0)))
    concepts = tiny_models.vocabulary([f'concept {i}' for i in range(9)])
    for title, matrix in ((CLASSES, names), (concepts.names, concepts.matrix)):
        path = folder / ('names.pth' if title is CLASSES else 'concepts.pth')
        TextEmbeddings(title, matrix - torch.outer(matrix @ common, common)).save(path)


def loader(dataset: dict, **settings: Any) -> dict:
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dataset,
        **settings,
    )


def annotated(folder: Path, **settings: Any) -> dict:
    """The scenes with their boxes."""
    return dict(
        type='ShapesWorldDataset',
        data_root=str(folder / 'world'),
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=VAL_PIPELINE,
        **settings,
    )


def config(folder: Path, work_dir: Path, **changes: Any) -> Config:
    """Six iterations of two images, with the loop that resumes exactly."""
    captioned = dict(
        type='ImageTextDataset',
        data_root=str(folder / 'world'),
        ann_file='captions.json',
        data_prefix=dict(img_path='images/'),
        pipeline=TRAIN_PIPELINE,
    )
    model = tiny_models.regionclip_config(
        str(folder / 'clip.pth'),
        localizer=None,
        num_regions=8,
        region_text_head=dict(concept_pool=str(folder / 'concepts.pth')),
        data_preprocessor=PREPROCESSOR,
    )
    settings = dict(
        default_scope='mmdet',
        custom_imports=dict(
            imports=['regionclip_mmdet', 'helpers.watched_pretraining'], allow_failed_imports=False
        ),
        work_dir=str(work_dir),
        experiment_name=f'watched_{next(_names)}',
        model=model,
        train_dataloader=loader(captioned) | dict(sampler=dict(type='InfiniteSampler')),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=6, val_interval=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=5e-5, momentum=0.9)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False),
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=2),
        ),
        custom_hooks=[dict(type='LossDiary'), *changes.pop('hooks', [])],
        visualizer=dict(
            type='DetLocalVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
            name=f'watched_{next(_names)}',
        ),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=3),
    )
    if changes.pop('validates', True):
        settings.update(
            val_dataloader=loader(annotated(folder)),
            val_cfg=dict(type='RegionNamingLoop', vocabulary=str(folder / 'names.pth')),
            val_evaluator=dict(type='RegionClassificationMetric'),
        )
    return Config({**settings, **changes})


def equal_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights, bit by bit."""
    states = [torch.load(path, weights_only=False)['state_dict'] for path in (one, other)]
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][key]) for key, value in states[0].items()
    )


def train(folder: Path, work_dir: Path, **changes: Any) -> Runner:
    """Build the runner and train; the config is not laid out prettily, which takes seconds."""
    cfg = config(folder, work_dir, **changes)
    if cfg.get('launcher', 'none') != 'none':
        prepare_launch(cfg)
    with mock.patch.object(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict()))):
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner
