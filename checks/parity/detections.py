# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals and detections compared as sets: near-tied scores may change places."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from .case import CaseError
from .comparison import Comparison

# A recorded proposal is found if one of ours has this IoU and equal objectness; so many must be.
SAME_BOX = 0.99
PROPOSALS_FOUND = 0.99
# Scores nearer than this may change places, and at the end of the list leave it.
NEAR_TIE = 2e-4
# With proposals of our own a near tie may exchange one; what it was detected as is then missing.
DETECTIONS_FOUND = 0.97


def compare_proposals(
    comparison: Comparison,
    boxes: Tensor,
    objectness: Tensor,
    names: tuple[str, str],
    limit: float,
) -> None:
    """Match an image's proposals by IoU and compare their objectness.

    Args:
        comparison: Takes the differences.
        boxes: Ours ``(N, 4)``, in descending objectness order.
        objectness: Their logits ``(N,)``.
        names: Of the recorded boxes and logits.
        limit: For the objectness of matched ones.
    """
    try:
        recorded, logits = (comparison.case[name].cpu() for name in names)
    except CaseError as error:
        comparison.fail(names[0], str(error))
        return
    boxes, objectness = boxes.cpu(), objectness.cpu()
    if recorded.shape[1:] != (4,) or logits.shape != recorded.shape[:1]:
        shapes = f'{list(recorded.shape)} and {list(logits.shape)}'
        comparison.fail(names[0], f'recorded shapes {shapes} are no boxes with logits')
        return
    broken = not (boxes.isfinite().all() and objectness.isfinite().all())
    if broken or abs(len(boxes) - len(recorded)) > (1 - PROPOSALS_FOUND) * len(recorded):
        what = 'not all finite' if broken else f'{len(boxes)} of them, recorded {len(recorded)}'
        comparison.fail(names[0], f'proposals: {what}')
        return
    if len(recorded) == 0:
        comparison.add(names[0], boxes, 0)
        return
    gaps = (objectness[:, None] - logits).abs()
    same = bbox_overlaps(boxes, recorded) >= SAME_BOX
    best = gaps.where(same, torch.inf).amin(0)
    found = best <= limit
    share = float(found.float().mean())
    if share < PROPOSALS_FOUND:
        first = int((~found).nonzero()[0])
        comparison.fail_share(
            names[0],
            1 - share,
            1 - PROPOSALS_FOUND,
            f'only {share:.1%} are found at IoU {SAME_BOX} and objectness within {limit:g}; not '
            f'[{first}], {recorded[first].tolist()} with logit {float(logits[first]):.5g}',
        )
        return
    overlap = bbox_overlaps(boxes, recorded).where(gaps <= limit, torch.zeros(())).amax(0)[found]
    comparison.add(f'IoU of {names[0]}', overlap, 1 - SAME_BOX, recorded=torch.ones(len(overlap)))
    none = torch.zeros(int(found.sum()))
    scale = float(logits.abs().max())
    comparison.add(names[1], best[found], limit, recorded=none, scale=scale)
    falling = (objectness.diff() <= 0).all()
    if not falling:
        comparison.fail(names[1], 'ours are not in descending objectness order')


def compare_detections(
    comparison: Comparison,
    found: InstanceData,
    prefix: str,
    box_limit: float,
    score_limit: float,
    given_proposals: bool = True,
    by_score: bool = True,
) -> None:
    """Compare an image's detections: boxes and classes as sets, scores in order.

    Every recorded detection needs one of ours with its class, its box and its score. Only those
    may lack one whose score nearly ties with the last one's of the list or with a neighbor's.
    Where places may change (proposals of our own, lists not ordered by what they show), scores are
    compared with those of the matched ones.

    Args:
        comparison: Takes the differences.
        found: Ours: ``bboxes``, ``scores``, ``labels``.
        prefix: Of the recorded ``boxes``, ``scores``, ``classes``.
        box_limit: For coordinates.
        score_limit: For scores.
        given_proposals: Whether they were made from the recorded proposals.
        by_score: Whether the list is ordered by the scores it shows.
    """
    try:
        boxes, scores, labels = (
            comparison.case[f'{prefix}{name}'].cpu() for name in ('boxes', 'scores', 'classes')
        )
    except CaseError as error:
        comparison.fail(f'{prefix}boxes', str(error))
        return
    found = found.cpu()
    if not (boxes.shape == (len(scores), 4) and labels.shape == scores.shape):
        comparison.fail(f'{prefix}boxes', 'boxes, scores and classes have no common length')
        return
    slack = 0 if given_proposals else round((1 - DETECTIONS_FOUND) * len(scores))
    if abs(len(found) - len(scores)) > slack or (len(scores) and not len(found)):
        comparison.fail(f'{prefix}boxes', f'{len(found)} detections, recorded {len(scores)}')
        return
    if not bool(found.bboxes.isfinite().all() and found.scores.isfinite().all()):
        comparison.fail(f'{prefix}boxes', 'ours are not all finite')
        return
    if len(scores) == 0:
        comparison.add(f'{prefix}scores', found.scores, 0)
        return
    # one exchanged proposal would shift all scores behind its detection
    in_order = by_score and given_proposals
    if in_order:
        comparison.add(f'{prefix}scores', found.scores, score_limit)
    # whichever of ours is nearest in box among those of the same class and score
    gaps = (found.bboxes[:, None] - boxes).abs().amax(-1)
    score_gaps = (found.scores[:, None] - scores).abs()
    alike = (found.labels[:, None] == labels) & (score_gaps <= score_limit)
    nearest = gaps.where(alike, torch.inf).amin(0)
    matched = nearest <= box_limit
    excused = _near_ties(scores) if by_score else torch.zeros_like(matched)
    lost = (~matched & ~excused).nonzero()[:, 0]
    if len(lost) > slack:
        i = int(lost[0])
        comparison.fail_share(
            f'{prefix}boxes',
            len(lost) / len(scores),
            slack / len(scores),
            f'{len(lost)} of {len(scores)} have none of ours; the first is [{i}], class '
            f'{int(labels[i])}, score {float(scores[i]):.6g}, {boxes[i].tolist()}',
        )
        return
    unmatched = int((~matched).sum())
    if unmatched > max(slack, (1 - DETECTIONS_FOUND) * len(scores)):
        comparison.fail(f'{prefix}boxes', f'{unmatched} of {len(scores)} have none of ours')
        return
    rows = gaps.where(alike, torch.inf).argmin(0)
    comparison.add(
        f'{prefix}boxes', found.bboxes[rows][matched], box_limit, recorded=boxes[matched]
    )
    if not in_order:
        chosen = found.scores[rows][matched]
        comparison.add(f'{prefix}scores', chosen, score_limit, recorded=scores[matched])
    comparison.add(f'{prefix}classes', found.labels[rows][matched], 0, recorded=labels[matched])


def _near_ties(scores: Tensor) -> Tensor:
    """Which recorded scores (falling) nearly tie with a neighbor's, or are nearly the last."""
    steps = scores[:-1] - scores[1:] <= NEAR_TIE
    ties = torch.zeros(len(scores), dtype=torch.bool)
    ties[:-1] |= steps
    ties[1:] |= steps
    return ties | (scores - scores[-1] <= NEAR_TIE)
