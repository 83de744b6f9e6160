# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of transfer: losses, gradients and detections, with or without masks."""

from __future__ import annotations

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import PolygonMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.detectors import OpenVocabularyRCNN

from . import models
from .case import Case, CaseError
from .comparison import Comparison
from .detections import compare_detections
from .gradients import compare_gradients, compare_trainable
from .masks import compare_pasted_masks

WHAT = 'transfer: losses, gradients, detections with soft and hard NMS, masks if there are any'
MARKS = ('test_proposals0', 'proposal_classes0', 'det_hardnms_img0_boxes', 'loss_box_reg')
NEEDED = (
    'loss_cls',
    'loss_box_reg',
    'logits',
    'det_softnms_img0_scores',
    'det_hardnms_img0_scores',
)
# Official settings with and without masks (the LVIS and the COCO recipe).
COCO = dict(score_thr=0.001, max_per_img=100, objectness='none', gamma=0.5, background=0.2)
LVIS = dict(score_thr=0.02, max_per_img=300, objectness='logit', gamma=None, background=0.8)
LOSSES = dict(loss_cls='loss_cls', loss_bbox='loss_box_reg', loss_mask='loss_mask')


def run(case: Case, comparison: Comparison) -> None:
    """Compare a training step on the recorded regions, then detections."""
    with_masks = 'mask_logits' in case or 'gt_polygons0' in case
    model = _build(case, with_masks)
    images = [case[f'image{i}'] for i in case.numbered('image{}')]
    batch, samples = models.preprocess(model.data_preprocessor, images)
    model.train()
    prefixes = case.note('trainable_prefixes')
    if prefixes is not None:
        compare_trainable(comparison, model, prefixes)
    _compare_step(case, comparison, model, batch, with_masks)
    model.eval()
    with torch.no_grad():
        _compare_detections(
            case, comparison, model, batch, [s.metainfo for s in samples], with_masks
        )


def _build(case: Case, with_masks: bool) -> OpenVocabularyRCNN:
    arch = models.arch_of(case, case['text_emb_train'].shape[1])
    kind = models.localizer_kind(case)
    name = models.DETECTOR_WITH_MASKS if with_masks else models.DETECTOR
    config = models.detector_config(name, arch, kind)
    official = LVIS if with_masks else COCO
    head, rcnn = config.roi_head.bbox_head, config.test_cfg.rcnn
    models.set_unless_official(head, 'temperature', case.note('temperature'), 0.01)
    models.set_unless_official(rcnn, 'score_thr', case.note('score_thresh'), official['score_thr'])
    models.set_unless_official(rcnn, 'max_per_img', case.note('topk'), official['max_per_img'])
    fused = case.note('multiply_rpn_score')
    objectness = None if fused is None else ('logit' if fused else 'none')
    models.set_unless_official(rcnn, 'objectness', objectness, official['objectness'])
    nms = models.nms_config(case, soft=True)
    usual = dict(method='gaussian', sigma=0.5, iou_threshold=0.5, min_score=0.001)
    for key, value in usual.items():
        models.set_unless_official(rcnn.nms, key, nms[key], value)
    gamma = case.note('focal_gamma', default=official['gamma'])
    background = case.note('bg_loss_weight', default=official['background'])
    if (gamma, background) != (official['gamma'], official['background']):
        # without focal scaling the official loss is the library's weighted mean
        head.loss_cls = dict(
            type='FocalScaledCrossEntropyLoss',
            gamma=gamma or 0.0,
            background_weight=background,
            normalizer='weights' if gamma is None else 'regions',
        )
    weights = case.note('reg_weights')
    if weights is not None and list(weights) != [10.0, 10.0, 5.0, 5.0]:
        raise CaseError(f'box weights {weights}: only (10, 10, 5, 5) are known here')
    beta = case.note('smooth_l1_beta')
    if beta:
        head.loss_bbox = dict(type='SmoothL1Loss', beta=beta, loss_weight=1.0)
    model = models.build(config)
    official_state = models.official_weights(case, 'detector_shapes', arch, kind, with_masks)
    models.load_detector(model, official_state, case['text_emb_train'], case['text_emb_test'])
    return model.to(case.device)


def _sampled(case: Case, index: int, with_masks: bool) -> tuple[SamplingResult, InstanceData]:
    """The recorded regions of an image as mmdet's sampler hands them on, and its objects."""
    boxes, labels = case[f'proposal_boxes{index}'], case[f'proposal_classes{index}']
    background = case.note('num_train_classes', default=len(case['text_emb_train']))
    foreground = labels < background
    targets = case[f'proposal_gt_boxes{index}']
    objects = InstanceData(bboxes=case[f'gt_boxes{index}'], labels=case[f'gt_classes{index}'])
    if with_masks:
        height, width = case[f'image{index}'].shape[1:]
        polygons = case[f'gt_polygons{index}'].double().cpu().numpy()
        objects.masks = PolygonMasks([[polygon] for polygon in polygons], height, width)
    same = (targets[:, None] == objects.bboxes).all(2)
    if not bool(same[foreground].any(1).all()):
        raise CaseError(f'proposal_gt_boxes{index} are not all among gt_boxes{index}')
    assigned = torch.zeros_like(labels)  # an image may be without objects
    assigned[foreground] = same[foreground].long().argmax(1) + 1 if len(objects) else 0
    sampled = SamplingResult(
        foreground.nonzero().squeeze(1),
        (~foreground).nonzero().squeeze(1),
        boxes,
        objects.bboxes,
        AssignResult(len(objects), assigned, None, labels),
        torch.zeros(len(boxes), dtype=torch.uint8, device=case.device),
    )
    return sampled, objects


def _compare_step(
    case: Case,
    comparison: Comparison,
    model: OpenVocabularyRCNN,
    batch: Tensor,
    with_masks: bool,
) -> None:
    """Losses and gradients; the RoI head's own steps behind the sampler."""
    numbers = case.numbered('image{}')
    sampled, objects = zip(*(_sampled(case, i, with_masks) for i in numbers), strict=True)
    head, seen = model.roi_head, {}
    hooks = [
        head.bbox_head.register_forward_hook(
            lambda module, args, out: seen.update(features=args[0], logits=out[0], deltas=out[1])
        )
    ]
    feats = model.extract_feat(batch)
    results = head.bbox_loss(feats, sampled)
    losses = dict(results['loss_bbox'])
    if with_masks:
        masks = head.mask_loss(feats, sampled, results['bbox_feats'], objects)
        losses.update(masks['loss_mask'])
        limit = case.limit('mask_logits_max_abs', 1e-3)
        comparison.add('mask_logits', masks['mask_preds'], limit)
        size = ConfigDict(mask_size=tuple(masks['mask_preds'].shape[-2:]))
        targets = head.mask_head.get_targets(sampled, objects, size)
        targets = targets.split([len(s.pos_inds) for s in sampled])
        for i, target in zip(numbers, targets, strict=True):
            comparison.add(f'mask_targets{i}', target, 0)
    for hook in hooks:
        hook.remove()

    # recorded in the order of the given regions; mmdet puts the foreground of an image first
    order, start = [], 0
    for result in sampled:
        order.append(torch.cat([result.pos_inds, result.neg_inds]) + start)
        start += len(order[-1])
    place = torch.cat(order).argsort()
    limit = case.limit('logits_max_abs', 5e-3)
    for name, ours, tolerance in (
        ('region_features', seen['features'], case.limit('region_features_max_abs', 2e-4)),
        ('logits', seen['logits'], limit),
        ('deltas', seen['deltas'], 1e-3),
    ):
        if name in case or name in NEEDED:
            comparison.add(name, ours[place], tolerance)
    tolerance = case.limit('losses_rel', 1e-4)
    for ours, official in LOSSES.items():
        if ours in losses:
            # mmdet's mask loss has one dimension
            comparison.add(official, losses[ours].sum(), tolerance, 'relative')
    model.zero_grad()
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    compare_gradients(comparison, model, norm_limit=case.limit('grad_norm_rel', 1e-3))
    model.zero_grad(set_to_none=True)


def _compare_detections(
    case: Case,
    comparison: Comparison,
    model: OpenVocabularyRCNN,
    batch: Tensor,
    metas: list[dict],
    with_masks: bool,
) -> None:
    """Detections from the recorded proposals by the config's soft-NMS and by hard NMS."""
    head, feats = model.roi_head, model.extract_feat(batch)
    numbers = case.numbered('image{}')
    proposals = [
        InstanceData(
            bboxes=case[f'test_proposals{i}'], objectness_logits=case[f'test_objectness{i}']
        )
        for i in numbers
    ]
    rois = bbox2roi([p.bboxes for p in proposals])
    scored = head._bbox_forward(feats, rois)
    if 'test_logits' in case:
        limit = case.limit('logits_max_abs', 5e-3)
        comparison.add('test_logits', scored['cls_score'], limit)
        comparison.add('test_deltas', scored['bbox_pred'], 1e-3)
    encoded = head.encode(feats, proposals, metas, all_regions=True, embed=False)
    hard = ConfigDict({**head.test_cfg, 'nms': models.nms_config(case, soft=False)})
    settings = dict(softnms=head.test_cfg, hardnms=hard)
    found = {
        nms: [head.detect(image, cfg=cfg, masks=False, rescale=False) for image in encoded]
        for nms, cfg in settings.items()
    }
    box_limit = case.limit('detections_boxes', 0.02)
    score_limit = case.limit('detections_scores', 1e-4)
    for nms, results in found.items():
        for i, result in zip(numbers, results, strict=True):
            prefix = f'det_{nms}_img{i}_'
            compare_detections(comparison, result, prefix, box_limit, score_limit)
    if with_masks:
        compare_pasted_masks(comparison, head, feats, metas)
