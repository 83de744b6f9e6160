# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Encode no region that cannot become a detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from .detections import only_better_boxes_matter, select_detections

FIRST_CHUNK = 128
ScoreRegions = Callable[[Tensor], tuple[Tensor, ...]]


def first_chunk(cfg: Mapping) -> int:
    """Regions to encode before the first look at what is left; 0: all at once.

    The exit is skipped where it saves nothing, without objectness (scores are then bounded by 1
    alone), and where it is not exact: with mmcv's own soft-NMS and with options of its NMS other
    than the threshold, what becomes of a box can depend on the number and the coordinates of all
    candidates.

    Args:
        cfg: ``objectness``, ``nms`` and ``early_exit``: True (the default), a number of regions to
            begin with, or False.

    Raises:
        ValueError: ``early_exit`` is something else.
    """
    setting, nms = cfg.get('early_exit', True), cfg['nms']
    if not isinstance(setting, int) or setting < 0:
        raise ValueError(
            'test_cfg.rcnn.early_exit must be True, False or a number of regions to begin with, '
            f'not {setting!r}.'
        )
    if cfg.get('objectness', 'none') == 'none' or not only_better_boxes_matter(nms):
        return 0
    return FIRST_CHUNK if setting is True else int(setting)


def detect_until_final(
    score_regions: ScoreRegions,
    weight: Tensor,
    extent: float,
    cfg: Mapping,
    chunk: int = FIRST_CHUNK,
) -> tuple[InstanceData, tuple[Tensor, ...]]:
    """``select_detections`` of all regions, having scored only those that can matter.

    Scores are ``sqrt(p * w)`` with probabilities ``p <= 1``, so no score of a region exceeds
    ``sqrt(w)``; not by rounding either, which keeps the order. Regions are scored in chunks, in
    descending order of ``w``. Let ``b`` bound the scores of those left. They change nothing, and
    scoring ends, as soon as

    * ``b`` does not exceed ``score_thr``: no candidate is left; or
    * the last of ``max_per_img`` detections found so far has a score *above* ``b``. In hard NMS a
      box is suppressed by better boxes alone, so who is kept above ``b`` is settled. In greedy
      soft-NMS the scores taken never rise, so all picks up to that one are taken while every box
      left is worse, and boxes not taken influence nobody; pruning looks at one score alone.

    Equal scores go by the region's index; candidates are selected in the order of all regions, and
    because scores left out are *strictly* lower, they take part in no tie. Regions with a negative
    or undefined weight (a negative logit in the official fusion) are never scored: their scores
    would be NaN and be discarded. One quantity of soft-NMS depends on all
    candidates, the offset that keeps classes apart in float32; it grows with the largest
    coordinate. There the exit waits until a candidate reaches the image's far border, beyond which
    no clipped box can lie.

    Args:
        score_regions: Given rows ``(n,)`` of the regions, returns their clipped boxes ``(n, 4)``
            and scores ``(n, K)``, and any further tensors with ``n`` rows.
        weight: ``w`` of all regions, ``(N,)``.
        extent: Largest coordinate a clipped box can have, in pixels.
        cfg: As in ``select_detections``.
        chunk: Regions to be scored first. Later chunks are as long as the scores found so far
            suggest, not shorter than this and at most twice the one before.

    Returns:
        Detections, with ``region_inds`` among all ``N`` regions, and the outputs of
        ``score_regions``, rows of regions that were not scored being NaN.
    """
    bounds = weight.sqrt()
    by_bound = bounds.argsort(descending=True, stable=True)
    by_bound = by_bound[((bounds > cfg['score_thr']) & bounds.isfinite())[by_bound]]
    falling = bounds[by_bound].tolist()
    outputs: tuple[Tensor, ...] = ()
    scored, size = 0, chunk
    # of the smallest chunk at least one call is made, so that types and widths are known
    while True:
        rows = by_bound[scored : scored + size]
        new = score_regions(rows)
        if not outputs:
            outputs = tuple(t.new_full((len(weight), *t.shape[1:]), torch.nan) for t in new)
        for whole, part in zip(outputs, new, strict=True):
            whole[rows] = part
        scored += len(rows)
        boxes, scores = outputs[:2]
        if scored == len(falling):
            return select_detections(boxes, scores, cfg), outputs
        last = _last_score(boxes, scores, extent, cfg)
        if last > falling[scored]:
            found = select_detections(boxes, scores, cfg)
            # NMS may leave fewer, and with lower scores
            last = float(found.scores[-1]) if len(found) == cfg['max_per_img'] else 0.0
            if last > falling[scored]:
                return found, outputs
        worthwhile = sum(bound >= last for bound in falling[scored:])
        size = max(chunk, min(worthwhile, 2 * size))


def _last_score(boxes: Tensor, scores: Tensor, extent: float, cfg: Mapping) -> float:
    """The last of the detections wanted, before NMS, which can only lower it; 0: not settled."""
    limit, nms = cfg['max_per_img'], cfg['nms']
    is_candidate = (scores > cfg['score_thr']) & boxes.isfinite().all(1)[:, None]
    candidates = scores[is_candidate]
    if not 0 < limit <= len(candidates):
        return 0.0
    if nms['type'] == 'global_soft_nms' and nms.get('class_offset', 'float32') == 'float32':
        if not bool((boxes[is_candidate.any(1)] >= extent).any()):
            return 0.0
    return float(candidates.topk(limit).values[-1])
