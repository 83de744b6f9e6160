# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detections as a picture, rows of a table, and what each region resembles."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from regionclip_mmdet.apis import EncodedImage
from regionclip_mmdet.models.recognition import region_probabilities
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.visualization import draw_detections

from .pictures import Picture

# Longer side of pictures with boxes: what a screen shows.
SHOWN_SIDE = 1600
# Smaller pictures are enlarged, so that names can be read.
_SMALLEST_SIDE = 400


@dataclass(eq=False)
class Outcome:
    """What the page shows.

    Attributes:
        picture: uint8 ``(h, w, 3)``, boxes drawn, scaled down where it is larger than a screen.
        detections: By falling score dicts of ``name``, ``score``, ``box`` (x1 y1 x2 y2 in pixels of
            the upload) and ``region``, a number of the next.
        regions: Per region with a detection a dict of its number ``region``, its ``box`` as
            proposed, and ``names``: the best names with their probabilities.
        summary: One sentence.
        notes: What else should be known.
    """

    picture: np.ndarray
    detections: list[dict]
    regions: list[dict]
    summary: str
    notes: list[str] = field(default_factory=list)


def describe(
    model: nn.Module,
    picture: Picture,
    encoded: EncodedImage,
    vocabulary: TextEmbeddings,
    found: InstanceData,
    top_k: int,
) -> Outcome:
    """What was found, ready to be shown.

    Args:
        model: The detector.
        picture: That was asked about.
        encoded: The same, encoded.
        vocabulary: ``K`` names.
        found: Detections by falling score, with ``region_inds``.
        top_k: Names listed for each region.
    """
    names = [vocabulary.names[label] for label in found.labels.tolist()]
    scores, boxes = found.scores.cpu().numpy(), found.bboxes.cpu().numpy()
    picture = picture.shrunk(SHOWN_SIDE)
    # numbered as they appear in the table, from 1
    order = list(dict.fromkeys(found.region_inds.tolist()))
    number = {region: i for i, region in enumerate(order, 1)}
    rows = [
        dict(
            name=name,
            score=round(float(score), 3),
            box=[round(float(v), 1) for v in box],
            region=number[region],
        )
        for name, score, box, region in zip(names, scores, boxes, found.region_inds.tolist())
    ]
    probs, best = _top_names(model, encoded, vocabulary, order, top_k)
    proposed = encoded.boxes.cpu()
    regions = [
        dict(
            region=i,
            box=[round(v, 1) for v in proposed[region].tolist()],
            names=[
                dict(name=vocabulary.names[label], probability=round(prob, 4))
                for prob, label in zip(of_region.tolist(), labels.tolist())
            ],
        )
        for i, (region, of_region, labels) in enumerate(zip(order, probs, best), 1)
    ]
    different = len(set(names))
    summary = (
        f'{_count(len(rows), "detection")} of {_count(different, "name")} in {picture.size} '
        f'pixels; {_count(len(encoded), "region")} compared with '
        f'{_count(len(vocabulary), "name")}.'
    )
    drawn = draw_detections(
        picture.rgb, boxes * picture.factor, names, scores, min_side=_SMALLEST_SIDE
    )
    return Outcome(drawn, rows, regions, summary)


def _top_names(
    model: nn.Module,
    encoded: EncodedImage,
    vocabulary: TextEmbeddings,
    regions: list[int],
    top_k: int,
) -> tuple[Tensor, Tensor]:
    """Probabilities ``(n, k)`` and labels ``(n, k)`` of the best names of regions.

    The classifier's softmax, before objectness enters: what a region resembles, not how likely it
    is an object.
    """
    temperature = model.roi_head.bbox_head.active_classifier.temperature
    embeddings = encoded.embeddings[torch.tensor(regions, dtype=torch.long)]
    matrix = vocabulary.matrix.to(embeddings.device)
    probs = region_probabilities(embeddings, matrix, temperature)[:, : len(vocabulary)]
    return tuple(part.cpu() for part in probs.topk(min(top_k, len(vocabulary)), dim=-1))


def _count(number: int, what: str) -> str:
    return f'{number:,} {what}' + ('' if number == 1 else 's')
