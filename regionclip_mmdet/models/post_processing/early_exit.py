# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Encode no region that cannot become a detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from .detections import select_detections

ScoreRegions = Callable[[Tensor], tuple[Tensor, ...]]


def detect_until_final(
    score_regions: ScoreRegions,
    weight: Tensor,
    extent: float,
    cfg: Mapping,
    first_chunk: int = 128,
) -> tuple[InstanceData, tuple[Tensor, ...]]:
    """``select_detections`` of all regions, having scored only those that can matter.

    Scores are ``sqrt(p * w)`` with probabilities ``p <= 1``, so no score of a region exceeds
    ``sqrt(w)``. Regions are scored by falling ``w``, in growing chunks. Let ``b`` bound the scores
    of those left. They change nothing, and scoring ends, as soon as

    * ``b`` does not exceed ``score_thr``: no candidate is left; or
    * the last of ``max_per_img`` detections found so far has a score *above* ``b``. In hard NMS a
      box is suppressed by better boxes alone, so who is kept above ``b`` is settled. In greedy
      soft-NMS the scores taken never rise, so all picks up to that one are taken while every box
      left is worse, and boxes not taken influence nobody.

    Regions with a negative or undefined weight (a negative logit in the official fusion) are never
    scored: their scores would be NaN and be discarded. One quantity of soft-NMS depends on all
    candidates, the offset that keeps classes apart in float32; it grows with the largest
    coordinate. There the exit waits until a candidate reaches the image's far border, beyond which
    no clipped box can lie.

    Args:
        score_regions: Given rows ``(n,)`` of the regions, returns their clipped boxes ``(n, 4)``
            and scores ``(n, K)``, and any further tensors with ``n`` rows.
        weight: ``w`` of all regions, ``(N,)``.
        extent: Largest coordinate a clipped box can have, in pixels.
        cfg: As in ``select_detections``.
        first_chunk: Regions to be scored first; each further chunk doubles.

    Returns:
        Detections, with ``region_inds`` among all ``N`` regions, and the outputs of
        ``score_regions``, rows of regions that were not scored being NaN.
    """
    by_weight = weight.argsort(descending=True, stable=True)
    by_weight = by_weight[weight[by_weight] >= 0]
    outputs: tuple[Tensor, ...] = ()
    scored, chunk = 0, max(int(first_chunk), 1)
    # of the smallest chunk at least one call is made, so that types and widths are known
    while True:
        rows = by_weight[scored : scored + chunk]
        new = score_regions(rows)
        if not outputs:
            outputs = tuple(t.new_full((len(weight), *t.shape[1:]), torch.nan) for t in new)
        for whole, part in zip(outputs, new, strict=True):
            whole[rows] = part
        scored, chunk = scored + len(rows), 2 * chunk
        boxes, scores = outputs[:2]
        if scored == len(by_weight):
            break
        bound = float(weight[by_weight[scored]].sqrt())
        if bound <= cfg['score_thr']:
            break
        if not _may_be_final(boxes, scores, bound, extent, cfg):
            continue
        found = select_detections(boxes, scores, cfg)
        if len(found) == cfg['max_per_img'] and float(found.scores[-1]) > bound:
            return found, outputs
    return select_detections(boxes, scores, cfg), outputs


def _may_be_final(boxes: Tensor, scores: Tensor, bound: float, extent: float, cfg: Mapping) -> bool:
    """A cheap test before NMS: NMS lowers scores and removes boxes, it adds none."""
    limit, nms = cfg['max_per_img'], cfg['nms']
    above = scores > max(bound, cfg['score_thr'])
    if limit <= 0 or int(above.sum()) < limit:
        return False
    if nms['type'] == 'global_soft_nms' and nms.get('class_offset', 'float32') == 'float32':
        candidates = boxes[(scores > cfg['score_thr']).any(1)]
        return bool((candidates >= extent).any())
    return True
