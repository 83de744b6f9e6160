# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From class probabilities to detections."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms as single_class_nms

from .soft_nms import soft_nms

FUSIONS = ('none', 'logit', 'sigmoid')
# From so many candidates on, one pass per class is quicker than comparing all with all.
MANY_CANDIDATES = 10000


def fuse_objectness(probs: Tensor, objectness: Tensor | None, mode: str) -> Tensor:
    """Combine class probabilities with the localizer's objectness.

    ``'logit'`` is the official ``sqrt(p * s)`` with the *raw* objectness logit ``s``: scores may
    exceed 1, and regions with a negative logit become NaN and are discarded. ``'sigmoid'`` uses
    ``sqrt(p * sigmoid(s))``; ``'none'`` returns the probabilities.

    Args:
        probs: ``(N, K + 1)``.
        objectness: Logits ``(N,)``.
        mode: One of ``'none'``, ``'logit'``, ``'sigmoid'``.

    Raises:
        ValueError: Unknown mode, or no objectness although the mode needs it.
    """
    weight = objectness_weight(objectness, mode)
    return probs if weight is None else (probs * weight[:, None]).sqrt()


def objectness_weight(objectness: Tensor | None, mode: str) -> Tensor | None:
    """What class probabilities are multiplied with; None in mode ``'none'``.

    Args:
        objectness: Logits ``(N,)``.
        mode: As in ``fuse_objectness``.

    Raises:
        ValueError: As ``fuse_objectness``.
    """
    if mode not in FUSIONS:
        raise ValueError(f'objectness must be one of {FUSIONS}, not {mode!r}.')
    if mode == 'none':
        return None
    if objectness is None:
        raise ValueError(
            f'test_cfg.rcnn.objectness={mode!r} needs proposals with objectness_logits; these have '
            "none. Use proposals of an RPNLocalizer, or objectness='none' (e.g. ground-truth "
            'boxes).'
        )
    return objectness.float() if mode == 'logit' else objectness.float().sigmoid()


def select_detections(boxes: Tensor, scores: Tensor, cfg: Mapping) -> InstanceData:
    """Threshold, class-wise NMS and top-k; a region may yield several classes.

    Args:
        boxes: ``(N, 4)``, one box per region for all classes.
        scores: ``(N, K)`` without background. Regions with a non-finite box or score are dropped.
        cfg: ``score_thr`` (scores must be larger), ``max_per_img``, and ``nms``: mmcv's
            ``dict(type='nms', iou_threshold=...)``, or ``dict(type='global_soft_nms', ...)`` with
            the arguments of ``soft_nms``.

    Returns:
        By falling score: ``bboxes (M, 4)``, ``scores (M,)``, ``labels (M,)`` and
        ``region_inds (M,)``, the row of each detection in ``boxes``.
    """
    finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
    region, label = ((scores > cfg['score_thr']) & finite[:, None]).nonzero(as_tuple=True)
    candidate_boxes, candidate_scores = boxes[region], scores[region, label]
    nms = dict(cfg['nms'])
    if len(region) == 0:
        keep, kept_scores = region, candidate_scores
    elif nms['type'] == 'global_soft_nms':
        nms.pop('type')
        keep, kept_scores = soft_nms(
            candidate_boxes, candidate_scores, label, max_num=cfg['max_per_img'], **nms
        )
    elif nms['type'] == 'nms' and set(nms) == {'type', 'iou_threshold'}:
        keep = class_wise_nms(candidate_boxes, candidate_scores, label, nms['iou_threshold'])
        kept_scores = candidate_scores[keep]
    else:
        detections, keep = batched_nms(candidate_boxes, candidate_scores, label, nms)
        kept_scores = detections[:, 4]
    top = slice(cfg['max_per_img']) if cfg['max_per_img'] > 0 else slice(None)
    keep = keep[top]
    return InstanceData(
        bboxes=candidate_boxes[keep],
        scores=kept_scores[top],
        labels=label[keep],
        region_inds=region[keep],
    )


def class_wise_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS within each class: what overlaps a better box by more than a threshold goes.

    Classes are kept apart by moving each aside, as everywhere, but in float64: in float32 the
    coordinates of high labels would be rounded (to 1/8 pixel at label 1200), by an amount that
    depends on the largest coordinate of *all* candidates. So whether a box stays depends here on
    nothing but the better boxes of its class.

    Args:
        boxes: ``(N, 4)``, not negative.
        scores: ``(N,)``.
        labels: integers ``(N,)``.
        iou_threshold: Boxes go if their IoU with a kept one is larger.

    Returns:
        Indices of the kept boxes by falling score.
    """
    boxes, exact_scores = boxes.double(), scores.double()
    if len(boxes) < MANY_CANDIDATES:
        offset = labels.double() * (boxes.amax() + 1) if len(boxes) else labels.double()
        return single_class_nms(boxes + offset[:, None], exact_scores, iou_threshold)
    keep = []
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        keep.append(rows[single_class_nms(boxes[rows], exact_scores[rows], iou_threshold)])
    # back in the input's order first, so that equal scores go by index in both ways
    kept = torch.cat(keep).sort().values
    return kept[scores[kept].argsort(descending=True, stable=True)]
