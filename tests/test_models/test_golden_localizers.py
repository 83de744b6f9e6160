# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Case b (R50 RPNs: C4, FPN, FPN-LSJ) and case c with the localizer's proposals."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from golden import GoldenCase, max_abs
from mmdet.datasets.transforms import Resize
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from test_models.test_golden_detection import HARD_NMS, SOFT_NMS, assert_same_detections
from torch import Tensor

from regionclip_mmdet import config_path
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.localizers import RPNLocalizer
from regionclip_mmdet.models.text import TextEmbeddings

LEVELS = {'c4': ('res4',), 'fpn': ('p2', 'p3', 'p4', 'p5', 'p6')}
LEVELS['fpn_lsj'] = LEVELS['fpn']
NMS_09 = '_nms09_top300'


def localizer_config(kind: str) -> ConfigDict:
    config = Config.fromfile(config_path(f'_base_/localizers/rpn_r50_{kind}.py')).localizer
    config.backbone.init_cfg = None
    return config


@lru_cache(maxsize=1)
def localizer(kind: str) -> RPNLocalizer:
    model = MODELS.build(localizer_config(kind))
    GoldenCase(f'b_rpn_{kind}').load_localizer(model, kind)
    return model


def batch_and_metas() -> tuple[Tensor, list[dict]]:
    case = GoldenCase('b_rpn_images', with_meta=False)
    names = ['image0', 'image1']
    return case.batch(names), [dict(img_shape=tuple(case[n].shape[1:])) for n in names]


@torch.no_grad()
@pytest.mark.parametrize('kind', LEVELS)
def test_head_outputs(kind: str) -> None:
    case, model = GoldenCase(f'b_rpn_{kind}'), localizer(kind)
    batch, metas = batch_and_metas()
    x = model.convert_inputs(batch, [meta['img_shape'] for meta in metas])
    assert list(x.shape[-2:]) == case.meta['padded_size']
    feats = model.backbone(x)
    logits, deltas = model.rpn_head(feats if model.neck is None else model.neck(feats))
    limits = case.meta['thresholds']
    for i, level in enumerate(LEVELS[kind]):
        for name, maps in (('logits', logits[i]), ('deltas', deltas[i])):
            expected = case[f'{name}_{level}']
            if expected.shape != maps.shape:  # large maps were recorded at every fourth position
                maps = maps[:, :, ::4, ::4]
            assert expected.std() > 0.01
            assert max_abs(maps, expected) < limits[f'{name}_max_abs']


@torch.no_grad()
@pytest.mark.parametrize('kind', LEVELS)
def test_anchors(kind: str) -> None:
    case, model = GoldenCase(f'b_rpn_{kind}'), localizer(kind)
    height, width = case.meta['padded_size']
    sizes = [(-(-height // stride), -(-width // stride)) for stride in case.meta['strides']]
    priors = model.rpn_head.prior_generator.grid_priors(sizes, device='cpu')
    for anchors, level in zip(priors, LEVELS[kind], strict=True):
        assert max_abs(anchors[:12], case[f'anchors_{level}_first12']) < 1e-3
        assert max_abs(anchors[-3:], case[f'anchors_{level}_last3']) < 1e-3


@torch.no_grad()
@pytest.mark.parametrize('variant', ['', NMS_09])
@pytest.mark.parametrize('kind', LEVELS)
def test_proposals(kind: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, model = GoldenCase(f'b_rpn_{kind}{variant}'), localizer(kind)
    config = dict(
        model.test_cfg,
        nms_pre=case.meta['pre_nms_topk'],
        max_per_img=case.meta['post_nms_topk'],
        nms=dict(type='nms', iou_threshold=case.meta['nms_thresh']),
    )
    if not variant:  # the config's own numbers are the official ones
        assert config == model.test_cfg
    monkeypatch.setattr(model, 'test_cfg', ConfigDict(config))
    for i, found in enumerate(model(*batch_and_metas())):
        assert_same_proposals(found, case[f'proposals{i}'], case[f'objectness{i}'])


def assert_same_proposals(found: InstanceData, boxes: Tensor, logits: Tensor) -> None:
    """99 % matched at IoU 0.99 with equal objectness: near ties may change places."""
    assert abs(len(found) - len(boxes)) <= 0.01 * len(boxes)
    assert (found.objectness_logits.diff() <= 0).all()
    close = (found.objectness_logits[:, None] - logits).abs() < 1e-3
    matched = ((bbox_overlaps(found.bboxes, boxes) >= 0.99) & close).any(0)
    assert matched.float().mean() >= 0.99


@lru_cache(maxsize=1)
def zero_shot_model() -> OpenVocabularyRCNN:
    config = dict(
        type='OpenVocabularyRCNN',
        backbone=dict(type='CLIPResNet', arch='RN50'),
        # loaded below, on its own
        localizer=dict(localizer_config('fpn'), init_cfg=dict(type='RandomWeights')),
        may_be_missing=('localizer',),
        roi_head=dict(
            type='OpenVocabRoIHead',
            region_encoder=dict(type='RegionEncoder', arch='RN50'),
            bbox_head=dict(
                type='TextEmbeddingBBoxHead',
                embed_dim=1024,
                vocabulary=TextEmbeddings.from_tensor(GoldenCase('c_zeroshot_gt')['text_emb']),
                with_reg=False,
            ),
        ),
        test_cfg=dict(rcnn=dict(score_thr=0.001, max_per_img=100, objectness='logit')),
    )
    model = MODELS.build(ConfigDict(config)).eval()
    GoldenCase('c_zeroshot_rpn').load_weights(model)
    return model


@torch.no_grad()
@pytest.mark.parametrize('early_exit', [False, True])
@pytest.mark.parametrize('name', ['rpn', 'rpn_softnms', 'rpn_negobj', 'rpn_vis'])
def test_zero_shot_on_proposals(name: str, early_exit: bool) -> None:
    case, inputs = GoldenCase(f'c_zeroshot_{name}'), GoldenCase('c_zeroshot_gt')
    model = zero_shot_model()
    case.load_localizer(model.localizer, 'fpn')
    rpn = case.meta['rpn']
    model.localizer.test_cfg = ConfigDict(
        nms_pre=rpn['pre_nms_topk_per_level'],
        max_per_img=rpn['post_nms_topk'],
        nms=dict(type='nms', iou_threshold=rpn['nms_thresh']),
        min_bbox_size=rpn['min_box_size'],
    )
    test_cfg = model.roi_head.test_cfg
    test_cfg.nms = SOFT_NMS if case.meta['soft_nms'][0] else HARD_NMS
    test_cfg.report_scores = 'class' if name == 'rpn_vis' else 'fused'
    test_cfg.early_exit = 20 if early_exit else False
    raw = GoldenCase('c_zeroshot_rpn')
    samples = []
    for i in range(2):
        shape = tuple(inputs[f'resized_img{i}'].shape[:2])
        original = tuple(raw[f'raw_img{i}'].shape[:2])
        scale = (shape[1] / original[1], shape[0] / original[0])
        samples.append(
            DetDataSample(metainfo=dict(img_shape=shape, ori_shape=original, scale_factor=scale))
        )
    batch = inputs.batch(['resized_img0', 'resized_img1'])
    found = model.localizer(batch, [sample.metainfo for sample in samples])
    for sample, proposals in zip(samples, found, strict=True):
        sample.proposals = proposals
    results = model.predict(batch, samples)
    limits = case.meta['thresholds']
    for i, result in enumerate(results):
        assert_same_proposals(found[i], case[f'proposals_img{i}'], case[f'objectness_img{i}'])
        result = result.pred_instances
        assert max_abs(result.scores, case[f'det_img{i}_scores']) < limits['scores_max_abs']
        # the few regions left with a positive logit have logits, and scores, close together
        at_least = 10 if name == 'rpn_negobj' else 30
        assert_same_detections(result, case, f'det_img{i}_', limits['boxes_max_abs'], at_least)


@pytest.mark.parametrize('index', [0, 1])
def test_resizing_is_pillows(index: int) -> None:
    raw = GoldenCase('c_zeroshot_rpn')[f'raw_img{index}'].numpy()
    expected = GoldenCase('c_zeroshot_gt')[f'resized_img{index}'].numpy()
    resize = Resize(scale=(416, 256), keep_ratio=True, backend='pillow')
    resized = resize(dict(img=raw, img_shape=raw.shape[:2]))['img']
    assert np.array_equal(resized, expected)
