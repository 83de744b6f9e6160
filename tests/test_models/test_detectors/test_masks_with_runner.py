# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Masks from annotation files to COCO metrics, by a standard Runner on the shapes world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor

from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers import tiny_models
from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD
from regionclip_mmdet.models.roi_heads.region_mask_head import rasterize_polygons

PREPROCESSOR = dict(
    type='mmdet.DetDataPreprocessor', mean=list(CLIP_MEAN), std=list(CLIP_STD), bgr_to_rgb=True
)
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('worlds') / 'scenes'
    return make_shapes_world(root, ShapesWorldSpec('scenes', 4), num_workers=1, progress=False)


def make_model(**settings: object) -> OpenVocabularyRCNN:
    bbox_head = dict(vocabulary=tiny_models.vocabulary(CLASSES), with_reg=False)
    config = tiny_models.detector_config(
        with_mask=True, bbox_head=bbox_head, data_preprocessor=PREPROCESSOR, **settings
    )
    return MODELS.build(config)


def make_runner(model: OpenVocabularyRCNN, world: Path, folder: Path, **settings: object) -> Runner:
    """Ground-truth boxes as proposals; images of 128 pixels are seen at 160 by 160."""
    pipeline = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
        dict(type='Resize', scale=(160, 160), keep_ratio=True),
        dict(type='ProposalsFromGT'),
    ]
    dataset = dict(
        type='ShapesWorldDataset',
        data_root=str(world),
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
    )
    metric = dict(
        type='CocoMetric', ann_file=str(world / 'instances.json'), metric=['bbox', 'segm']
    )

    def loader(**changes: object) -> dict:
        return dict(
            batch_size=2,
            dataset=dict(dataset, **changes),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )

    flip = [dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
    pack = [dict(type='PackDetInputs', meta_keys=META)]
    return Runner(
        model,
        work_dir=str(folder),
        train_dataloader=loader(pipeline=pipeline[:3] + flip[:1] + pipeline[3:] + flip[1:]),
        train_cfg=dict(by_epoch=False, max_iters=2, val_interval=100),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        test_dataloader=loader(pipeline=pipeline + pack, test_mode=True),
        test_cfg=dict(),
        test_evaluator=metric,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        default_scope='mmdet',
        experiment_name=folder.name,
        randomness=dict(seed=0),
        **settings,
    )


def test_trained_masks_go_through_a_checkpoint(world: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make_model()
    losses = []
    loss = model.loss
    model.loss = lambda *args: losses.append(loss(*args)) or losses[-1]
    runner = make_runner(model, world, tmp_path / 'train')
    runner.train()
    assert len(losses) == 2
    # logits start near 0, so that every pixel costs log 2
    assert float(losses[0]['loss_mask'].detach()) == pytest.approx(0.6931, abs=0.02)
    again, checkpoint = make_model(), tmp_path / 'train/iter_2.pth'
    runner = make_runner(again, world, tmp_path / 'test', load_from=str(checkpoint))
    metrics = runner.test()
    assert again.weight_sources()['roi_head.mask_head'] == f'checkpoint {checkpoint}'
    for key, value in again.roi_head.mask_head.state_dict().items():
        assert torch.equal(value, model.roi_head.mask_head.state_dict()[key])
    assert {'coco/bbox_mAP', 'coco/segm_mAP', 'coco/segm_mAP_50'} <= set(metrics)


@pytest.mark.parametrize('shifted', [False, True])
def test_true_masks_score_as_such(
    shifted: bool, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads that know the answers: pasting, scaling back and evaluation leave them right.

    With the mask's halves exchanged, boxes stay perfect and masks are wrong.
    """
    model = tiny_models.fill(make_model(rcnn=dict(score_thr=0.5)))
    model.roi_head.mask_head.weights_source = 'this test'
    head, now = model.roi_head, {}
    predict, detect = model.predict, model.detect

    def remember(images: Tensor, samples: list, **kwargs: object) -> list:
        now['left'] = [sample.gt_instances for sample in samples]
        return predict(images, samples, **kwargs)

    def of_next_image(*args: object, **kwargs: object) -> InstanceData:
        now['objects'] = now['left'].pop(0)
        return detect(*args, **kwargs)

    def true_logits(embeddings: Tensor, vocabulary: object) -> tuple:
        return 50 * F.one_hot(now['objects'].labels, len(CLASSES) + 1).float(), None

    def true_masks(x: tuple, rois: Tensor) -> dict:
        objects, boxes = now['objects'], rois[:, 1:]
        nearest = (boxes[:, None] - objects.bboxes).abs().sum(2).argmin(1)
        masks = rasterize_polygons(objects.masks, nearest, boxes, (28, 28))
        logits = 20 * masks[:, None] - 10
        return dict(mask_preds=logits.roll(14, dims=3) if shifted else logits)

    monkeypatch.setattr(model, 'predict', remember)
    monkeypatch.setattr(model, 'detect', of_next_image)
    monkeypatch.setattr(head.bbox_head, 'forward', true_logits)
    monkeypatch.setattr(head, '_mask_forward', true_masks)
    metrics = make_runner(model, world, tmp_path / f'oracle_{shifted}').test()
    assert metrics['coco/bbox_mAP'] == 1
    if shifted:
        assert metrics['coco/segm_mAP'] < 0.2
    else:
        assert metrics['coco/segm_mAP_75'] == 1 and metrics['coco/segm_mAP'] > 0.85
