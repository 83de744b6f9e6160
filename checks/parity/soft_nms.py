# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of soft-NMS, and hard NMS where it was recorded beside it."""

from __future__ import annotations

import torch

from regionclip_mmdet.models.post_processing.detections import class_wise_nms
from regionclip_mmdet.models.post_processing.soft_nms import soft_nms

from .case import Case, CaseError
from .comparison import Comparison

WHAT = 'soft-NMS: boxes kept, their order, decayed scores'
MARKS = ('keep', 'keep_scores')
NEEDED = ('keep', 'keep_scores')
# Picks may change places where their scores are this near.
NEAR_TIE = 1e-6


def run(case: Case, comparison: Comparison) -> None:
    """Compare one list of boxes, with the official class offset and, if recorded, without."""
    boxes, scores, labels = (case[name] for name in ('boxes', 'scores', 'classes'))
    options = dict(
        method=_needed(case, 'method'),
        sigma=_needed(case, 'sigma'),
        iou_threshold=_needed(case, 'iou_threshold'),
        min_score=_needed(case, 'prune'),
    )
    limit = case.limit('scores_max_abs', 1e-5)
    keep, kept = soft_nms(boxes, scores, labels, **options)
    recorded, recorded_scores = case['keep'], case['keep_scores']
    comparison.add('keep as a set', keep.sort()[0], 0, recorded=recorded.sort()[0])
    comparison.add('keep_scores', kept, limit)
    if len(keep) == len(recorded):
        _compare_order(comparison, keep, recorded, recorded_scores)
    if 'exact_scores' in case:
        keep, kept = soft_nms(boxes, scores, labels, **options, class_offset='exact')
        comparison.add('exact_scores', kept, limit, recorded=case['exact_scores'][keep])
    if 'torchvision_hard_nms_keep' in case:
        keep = class_wise_nms(boxes, scores, labels, options['iou_threshold'])
        recorded = case['torchvision_hard_nms_keep']
        comparison.add('torchvision_hard_nms_keep', keep.sort()[0], 0, recorded=recorded.sort()[0])


def _needed(case: Case, name: str) -> object:
    value = case.note(name)
    if value is None:
        raise CaseError(f'meta has no {name!r}')
    return value


def _compare_order(
    comparison: Comparison, keep: torch.Tensor, recorded: torch.Tensor, scores: torch.Tensor
) -> None:
    """Where another box is picked, its recorded score must nearly tie with that of the place."""
    place = {int(index): i for i, index in enumerate(recorded)}
    if set(keep.tolist()) != set(place):
        return
    there = scores[[place[int(index)] for index in keep]]
    comparison.add('order of keep', there, NEAR_TIE, recorded=scores)
