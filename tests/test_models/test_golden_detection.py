# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases c (ground-truth boxes) and d: detection losses, gradients, scores and detections."""

from collections.abc import Sequence
from functools import lru_cache

import pytest
import torch
from golden import GoldenCase, max_abs, rel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from test_models.test_golden_pretraining import assert_gradients
from torch import Tensor

from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.text import TextEmbeddings

HARD_NMS = dict(type='nms', iou_threshold=0.5)
SOFT_NMS = dict(type='global_soft_nms', method='gaussian', sigma=0.5, min_score=0.001)


def build_model(
    train: Tensor, test: Tensor | None = None, with_reg: bool = True
) -> OpenVocabularyRCNN:
    head = dict(
        type='TextEmbeddingBBoxHead',
        embed_dim=1024,
        vocabulary=TextEmbeddings.from_tensor(train),
        test_vocabulary=None if test is None else TextEmbeddings.from_tensor(test),
        with_reg=with_reg,
    )
    config = dict(
        type='OpenVocabularyRCNN',
        backbone=dict(type='CLIPResNet', arch='RN50'),
        roi_head=dict(
            type='OpenVocabRoIHead',
            region_encoder=dict(type='RegionEncoder', arch='RN50'),
            bbox_head=head,
        ),
        train_cfg=None,
        test_cfg=dict(rcnn=dict(score_thr=0.001, nms=HARD_NMS, max_per_img=100)),
    )
    return MODELS.build(ConfigDict(config))


@lru_cache(maxsize=1)
def transfer_model() -> OpenVocabularyRCNN:
    case = GoldenCase('d_transfer_coco')
    model = build_model(case['text_emb_train'], case['text_emb_test'])
    case.load_weights(model)
    return model


def test_transfer_losses_and_gradients() -> None:
    case = GoldenCase('d_transfer_coco')
    model = transfer_model().train()
    model.zero_grad()
    limits = case.meta['thresholds']
    boxes = [case[f'proposal_boxes{i}'] for i in range(2)]
    labels = torch.cat([case[f'proposal_classes{i}'] for i in range(2)])
    gt_boxes = torch.cat([case[f'proposal_gt_boxes{i}'] for i in range(2)])
    rois = bbox2roi(boxes)
    head = model.roi_head.bbox_head
    results = model.roi_head._bbox_forward(
        model.extract_feat(case.batch(['image0', 'image1'])), rois
    )
    assert max_abs(results['cls_score'], case['logits']) < limits['logits_max_abs']
    is_foreground = (labels < head.num_classes).float()[:, None].expand(-1, 4)
    # background rows carry no ground truth; their targets never enter
    gt_boxes = torch.where(is_foreground > 0, gt_boxes, rois[:, 1:])
    losses = head.loss(
        results['cls_score'],
        results['bbox_pred'],
        rois,
        labels,
        torch.ones(len(labels)),
        head.bbox_coder.encode(rois[:, 1:], gt_boxes),
        is_foreground,
    )
    assert rel(losses['loss_cls'], case['loss_cls']) < limits['losses_rel']
    assert rel(losses['loss_bbox'], case['loss_box_reg']) < limits['losses_rel']
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert_gradients(model, case)


@pytest.mark.parametrize(('recorded', 'nms'), [('hardnms', HARD_NMS), ('softnms', SOFT_NMS)])
def test_transfer_detections(recorded: str, nms: dict) -> None:
    case = GoldenCase('d_transfer_coco')
    model = transfer_model().eval()
    model.roi_head.test_cfg.nms = nms
    boxes = [case[f'test_proposals{i}'] for i in range(2)]
    shapes = [tuple(case[f'image{i}'].shape[1:]) for i in range(2)]
    results = detect(model, case.batch(['image0', 'image1']), boxes, shapes)
    limits = case.meta['thresholds']
    for i, result in enumerate(results):
        prefix = f'det_{recorded}_img{i}_'
        assert max_abs(result.scores, case[f'{prefix}scores']) < limits['detections_scores']
        assert_same_detections(result, case, prefix, limits['detections_boxes'])


def test_zero_shot_on_ground_truth_boxes() -> None:
    case = GoldenCase('c_zeroshot_gt')
    model = build_model(case['text_emb'], with_reg=False)
    case.load_weights(model)
    model.eval()
    limits = case.meta['thresholds']
    boxes = [case[f'gt_boxes_resized_img{i}'] for i in range(2)]
    shapes = [tuple(case[f'resized_img{i}'].shape[:2]) for i in range(2)]
    scales = [
        (boxes[i][:, 2:].amax(0) / case[f'gt_boxes_raw_img{i}'][:, 2:].amax(0)).tolist()
        for i in range(2)
    ]
    batch = case.batch(['resized_img0', 'resized_img1'])
    for i, result in enumerate(detect(model, batch, boxes, shapes, scales)):
        assert max_abs(result.scores, case[f'gt_img{i}_scores']) < limits['scores_max_abs']
        assert_same_detections(result, case, f'gt_img{i}_', limits['boxes_max_abs'])


@torch.no_grad()
def detect(
    model: OpenVocabularyRCNN,
    batch: Tensor,
    boxes: list[Tensor],
    shapes: list[tuple[int, int]],
    scales: Sequence[Sequence[float]] = ((1.0, 1.0), (1.0, 1.0)),
) -> list[InstanceData]:
    """Both images as one batch, as recorded: padding reaches into the smaller's features."""
    samples = []
    for box, shape, scale in zip(boxes, shapes, scales, strict=True):
        sample = DetDataSample(metainfo=dict(img_shape=shape, scale_factor=scale))
        sample.proposals = InstanceData(bboxes=box)
        samples.append(sample)
    return [sample.pred_instances for sample in model.predict(batch, samples)]


def assert_same_detections(
    result: InstanceData, case: GoldenCase, prefix: str, box_limit: float, at_least: int = 30
) -> None:
    """Boxes and classes in order; where scores nearly tie, the order is free.

    Args:
        result: Ours.
        case: With the recorded ones.
        prefix: Of their names.
        box_limit: Largest difference of coordinates.
        at_least: So many detections must not tie.
    """
    scores, labels = case[f'{prefix}scores'], case[f'{prefix}classes']
    gaps = torch.cat([torch.ones(1), (scores[:-1] - scores[1:]).abs(), torch.ones(1)])
    clear = (gaps[:-1] > 2e-4) & (gaps[1:] > 2e-4)
    assert clear.sum() >= at_least
    assert torch.equal(result.labels[clear], labels[clear])
    assert max_abs(result.bboxes[clear], case[f'{prefix}boxes'][clear]) < box_limit
    # and whatever the order, they are the same, but for ties around the last
    near = (result.bboxes[:, None] - case[f'{prefix}boxes']).abs().amax(-1) < box_limit
    same = near & (result.labels[:, None] == labels)
    assert same.any(0).float().mean() >= 0.97
