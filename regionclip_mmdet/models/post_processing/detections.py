# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From class probabilities to detections."""

from __future__ import annotations

from collections.abc import Mapping

from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor

from .soft_nms import soft_nms

FUSIONS = ('none', 'logit', 'sigmoid')


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
    if mode not in FUSIONS:
        raise ValueError(f'objectness must be one of {FUSIONS}, not {mode!r}.')
    if mode == 'none':
        return probs
    if objectness is None:
        raise ValueError(
            f'test_cfg.rcnn.objectness={mode!r} needs proposals with objectness_logits; these have '
            "none. Use proposals of an RPNLocalizer, or objectness='none' (e.g. ground-truth "
            'boxes).'
        )
    weight = objectness.float() if mode == 'logit' else objectness.float().sigmoid()
    return (probs * weight[:, None]).sqrt()


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
