# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of zero-shot detection, on ground-truth boxes or on a localizer's proposals."""

from __future__ import annotations

import torch
from mmdet.datasets.transforms import Resize
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes, bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.detectors import OpenVocabularyRCNN

from . import models
from .case import Case
from .comparison import Comparison
from .detections import compare_detections, compare_proposals

WHAT = 'zero-shot: resized images, proposals, logits, detections in the original images'
MARKS = ('raw_img0', 'resized_img0', 'gt_boxes_raw_img0', 'proposals_img0', 'gt_img0_boxes')
NEEDED = ('logits',)


@torch.no_grad()
def run(case: Case, comparison: Comparison, early_exit: bool | int = True) -> None:
    """Compare a batch from the original images to detections in them.

    Args:
        case: The case.
        comparison: Takes the differences.
        early_exit: ``test_cfg.rcnn.early_exit``; the detections do not depend on it.
    """
    on_boxes = _on_annotated_boxes(case)
    model = _build(case, on_boxes)
    model.roi_head.test_cfg.early_exit = early_exit
    images, metas = _resize(case, comparison)
    batch, samples = models.preprocess(model.data_preprocessor, images, metas)
    if on_boxes:
        proposals = [
            InstanceData(bboxes=case[f'gt_boxes_resized_img{i}']) for i in range(len(images))
        ]
        recorded = [p.bboxes for p in proposals]
    else:
        proposals = model.localizer(batch, [sample.metainfo for sample in samples])
        limit = case.limit('objectness_max_abs', 1e-3)
        for i, found in enumerate(proposals):
            names = (f'proposals_img{i}', f'objectness_img{i}')
            compare_proposals(comparison, found.bboxes, found.objectness_logits, names, limit)
        recorded = [case[f'proposals_img{i}'] for i in range(len(images))]
    _compare_regions(case, comparison, model, batch, recorded)
    _compare_detections(case, comparison, model, batch, samples, proposals, on_boxes)


def _on_annotated_boxes(case: Case) -> bool:
    source = case.option('MODEL.CLIP.CROP_REGION_TYPE')
    return 'proposals_img0' not in case if source is None else source == 'GT'


def _build(case: Case, on_boxes: bool) -> OpenVocabularyRCNN:
    arch = models.arch_of(case, case['text_emb'].shape[1])
    kind = None if on_boxes else models.localizer_kind(case)
    shipped = models.ZERO_SHOT if on_boxes else models.ZERO_SHOT_ON_PROPOSALS
    config = models.detector_config(shipped, arch, kind)
    head, rcnn = config.roi_head.bbox_head, config.test_cfg.rcnn
    set_unless_official = models.set_unless_official
    set_unless_official(head, 'temperature', case.note('temperature'), 0.01)
    set_unless_official(rcnn, 'score_thr', case.note('score_thresh'), 0.001)
    set_unless_official(rcnn, 'max_per_img', case.note('topk'), 100)
    soft = case.note('soft_nms', default=[False])[0] is True
    nms = models.nms_config(case, soft)
    set_unless_official(rcnn, 'nms', nms, dict(type='nms', iou_threshold=0.5))
    multiplied = _is_on(case.option('MODEL.CLIP.MULTIPLY_RPN_SCORE'), not on_boxes)
    if multiplied is on_boxes:
        rcnn.objectness = 'logit' if multiplied else 'none'
    if _is_on(case.option('MODEL.CLIP.VIS'), False):
        rcnn.report_scores = 'class'
    if kind is not None:
        cfg, rpn = config.localizer.test_cfg, case.note('rpn', default={})
        set_unless_official(cfg.nms, 'iou_threshold', rpn.get('nms_thresh'), 0.9)
        before = 6000 if kind == 'c4' else 1000
        set_unless_official(cfg, 'nms_pre', rpn.get('pre_nms_topk_per_level'), before)
        set_unless_official(cfg, 'max_per_img', rpn.get('post_nms_topk'), 1000)
        set_unless_official(cfg, 'min_bbox_size', rpn.get('min_box_size'), 0.0)
        divisor = rpn.get('offline_pad_divisor') or 1
        usual = 1 if kind == 'c4' else 32
        set_unless_official(config.localizer, 'pad_size_divisor', divisor, usual)
    model = models.build(config).eval()
    official = models.official_weights(case, 'detector_shapes', arch, kind)
    models.load_detector(model, official, test_vocabulary=case['text_emb'])
    return model.to(case.device)


def _is_on(value: object, default: bool) -> bool:
    """An official option, which command lines give as text."""
    return default if value is None else str(value) == 'True'


def _resize(case: Case, comparison: Comparison) -> tuple[list[Tensor], list[dict]]:
    """Images ``(3, h, w)`` as mmdet's test pipeline resizes them, and their metas."""
    edges = case.note('max_size_test', default=1333), case.note('min_size_test', default=800)
    resize = Resize(scale=edges, keep_ratio=True, backend='pillow')
    images, metas = [], []
    for i in case.numbered('raw_img{}'):
        raw = case.array(f'raw_img{i}')
        inputs = dict(img=raw, img_shape=raw.shape[:2])
        inputs['gt_bboxes'] = HorizontalBoxes(case[f'gt_boxes_raw_img{i}'].cpu())
        resized = resize(inputs)
        comparison.add(f'resized_img{i}', resized['img'], 0)
        limit = case.limit('boxes_max_abs', 0.02)
        comparison.add(f'gt_boxes_resized_img{i}', resized['gt_bboxes'].tensor, limit)
        images.append(torch.from_numpy(resized['img']).permute(2, 0, 1))
        metas.append(dict(ori_shape=raw.shape[:2], scale_factor=resized['scale_factor']))
    return images, metas


def _compare_regions(
    case: Case,
    comparison: Comparison,
    model: OpenVocabularyRCNN,
    batch: Tensor,
    boxes: list[Tensor],
) -> None:
    """Logits of the recorded proposals, whose order is not in doubt."""
    if not case.wants('logits'):
        return
    found = model.roi_head._bbox_forward(model.extract_feat(batch), bbox2roi(boxes))
    comparison.add('logits', found['cls_score'], case.limit('logits_max_abs', 5e-3))
    if 'region_features' in case:
        limit = case.limit('region_features_max_abs', 2e-4)
        comparison.add('region_features', found['bbox_feats'], limit)


def _compare_detections(
    case: Case,
    comparison: Comparison,
    model: OpenVocabularyRCNN,
    batch: Tensor,
    samples: list[DetDataSample],
    proposals: list[InstanceData],
    on_boxes: bool,
) -> None:
    for sample, found in zip(samples, proposals, strict=True):
        sample.proposals = found
    cfg = model.roi_head.test_cfg
    by_score = cfg.get('report_scores', 'fused') == 'fused' or cfg.nms.type != 'nms'
    for i, sample in enumerate(model.predict(batch, samples)):
        compare_detections(
            comparison,
            sample.pred_instances,
            f'{"gt" if on_boxes else "det"}_img{i}_',
            case.limit('boxes_max_abs', 0.02),
            case.limit('scores_max_abs', 1e-4),
            given_proposals=on_boxes,
            by_score=by_score,
        )
