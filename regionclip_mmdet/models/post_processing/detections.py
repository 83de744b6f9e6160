# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From class probabilities to detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms as single_class_nms

from .soft_nms import soft_nms

FUSIONS = ('none', 'logit', 'sigmoid')
# Candidates compared at a time; all of an LVIS image would be 300 000.
BLOCK = 4096
# Candidates looked at first where there are more, and scores from which these are guessed.
FEW = 8 * BLOCK
SAMPLE = 1 << 17
# Classes are set apart by at least so many pixels.
CLASS_STEP_LOG2 = 17


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
        In descending score order: ``bboxes (M, 4)``, ``scores (M,)``, ``labels (M,)`` and
        ``region_inds (M,)``, the row of each detection in ``boxes``.
    """
    finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
    is_candidate = scores > cfg['score_thr']
    is_candidate &= finite[:, None]
    limit, total = cfg['max_per_img'], int(is_candidate.sum())
    if 0 < limit <= FEW // 4 and total > FEW and only_better_boxes_matter(cfg['nms']):
        used = boxes[is_candidate.any(1)]
        if used.amin() >= 0:  # as soft_nms needs them to keep classes apart
            found = _select_from_best(boxes, scores, is_candidate, total, cfg, used.amax())
            if found is not None:
                return found
    return _select(boxes, scores, is_candidate, cfg)


def is_plain_nms(nms: Mapping) -> bool:
    """Whether a config asks for hard NMS and nothing else, which ``class_wise_nms`` computes."""
    return nms['type'] == 'nms' and set(nms) == {'type', 'iou_threshold'}


def only_better_boxes_matter(nms: Mapping) -> bool:
    """Whether what becomes of a box depends neither on worse boxes nor on how many there are."""
    return is_plain_nms(nms) or nms['type'] == 'global_soft_nms'


def _select_from_best(
    boxes: Tensor,
    scores: Tensor,
    is_candidate: Tensor,
    total: int,
    cfg: Mapping,
    extent: Tensor,
) -> InstanceData | None:
    """The same from few of very many candidates (many names, low threshold), or None.

    Candidates from a threshold up are looked at. If they yield all detections wanted, none with a
    score below that threshold, then every candidate left out was worse than each of these when it
    was taken, and changes nothing. The threshold is a guess, from a sample; a wrong one costs time.
    """
    step = max(1, scores.numel() // SAMPLE)
    sample = scores.flatten()[::step][is_candidate.flatten()[::step]]
    few = FEW
    while few < total and len(sample):
        wanted = max(1, len(sample) * few // total)
        threshold = sample.topk(wanted).values[-1]
        found = _select(boxes, scores, is_candidate & (scores >= threshold), cfg, extent)
        if len(found) == cfg['max_per_img'] and found.scores[-1] >= threshold:
            return found
        few *= 8
    return None


def _select(
    boxes: Tensor,
    scores: Tensor,
    is_candidate: Tensor,
    cfg: Mapping,
    extent: Tensor | None = None,
) -> InstanceData:
    """NMS and top-k of candidates.

    Args:
        boxes: As in ``select_detections``.
        scores: Likewise.
        is_candidate: ``(N, K)`` bool.
        cfg: Likewise.
        extent: Largest coordinate of all candidates, if these are only some.
    """
    region, label = is_candidate.nonzero(as_tuple=True)
    candidate_boxes, candidate_scores = boxes[region], scores[region, label]
    nms = dict(cfg['nms'])
    if len(region) == 0:
        keep, kept_scores = region, candidate_scores
    elif nms['type'] == 'global_soft_nms':
        nms.pop('type')
        keep, kept_scores = soft_nms(
            candidate_boxes,
            candidate_scores,
            label,
            max_num=cfg['max_per_img'],
            extent=extent,
            **nms,
        )
    elif is_plain_nms(nms):
        keep = class_wise_nms(
            candidate_boxes, candidate_scores, label, nms['iou_threshold'], cfg['max_per_img']
        )
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


def class_wise_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_num: int = -1
) -> Tensor:
    """Greedy NMS within each class: what overlaps a better box by more than a threshold goes.

    Whether a box is kept depends on better boxes of its class only. So candidates are taken in
    blocks of descending score, each block together with what is kept already, until ``max_num`` are
    kept: the first of the full result. And classes are set apart by a step that does not depend on
    the candidates, in float64: the usual one, the largest coordinate in float32, would round the
    coordinates of high labels (to 1/8 pixel at label 1200), by an amount that any other candidate
    can change.

    Args:
        boxes: ``(N, 4)``, not negative.
        scores: ``(N,)``. Equal scores go by index.
        labels: integers ``(N,)``.
        iou_threshold: Boxes go if their IoU with a kept one is larger.
        max_num: Number of boxes wanted; below 1: all.

    Returns:
        Indices of the kept boxes in descending score order.
    """
    order = scores.argsort(descending=True, stable=True)
    keep = order[:0]
    if len(order) == 0:
        return keep
    boxes, scores = boxes.double(), scores.double()
    # a power of two, the same for all boxes within 2^17 pixels
    step = (boxes.amax() + 1).log2().ceil().clamp_min(CLASS_STEP_LOG2).exp2()
    boxes = boxes + labels.double()[:, None] * step
    if max_num < 1 and len(order) > BLOCK:  # all against all would take far too long
        kept = torch.zeros_like(order, dtype=torch.bool)
        for label in labels.unique():
            rows = (labels == label).nonzero()[:, 0]
            kept[rows[single_class_nms(boxes[rows], scores[rows], iou_threshold)]] = True
        return order[kept[order]]
    for block in order.split(BLOCK):
        rows = torch.cat([keep, block])
        keep = rows[single_class_nms(boxes[rows], scores[rows], iou_threshold)]
        if 0 < max_num <= len(keep):
            return keep[:max_num]
    return keep


def add_label_names(results: InstanceData, names: Sequence[str]) -> InstanceData:
    """Set ``label_names``, as mmdet's GLIP and Grounding DINO do: a label alone says little.

    A plain list of the vocabulary's own strings: pickled files need nothing of this package, and
    an entry costs a reference however large the vocabulary is. ``InstanceData`` cuts and joins
    lists like tensors.

    Args:
        results: With ``labels (M,)`` into ``names``; is changed.
        names: The vocabulary.

    Returns:
        The same results.
    """
    results.label_names = [names[label] for label in results.labels.tolist()]
    return results
