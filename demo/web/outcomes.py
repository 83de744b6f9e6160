# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the page shows: a visualization, tables, JSON, or a message in their place."""

from __future__ import annotations

import html
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from regionclip_mmdet.apis import EncodedImage
from regionclip_mmdet.models.recognition import region_probabilities
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.visualization import draw_detections

from .errors import UserError
from .uploads import UploadedImage

# Longer side of images with boxes: what a screen shows.
SHOWN_SIDE = 1600
# Smaller images are enlarged, so that names can be read.
_SMALLEST_SIDE = 400


@dataclass(eq=False)
class Outcome:
    """What the page shows.

    Attributes:
        visualization: uint8 ``(h, w, 3)``, boxes drawn, scaled down where it is larger than a
            screen.
        detections: dicts in descending score order of ``name``, ``score``, ``box`` (x1 y1 x2 y2 in
            pixels of the upload) and ``region``, a number of the next.
        regions: per region with a detection a dict of its number ``region``, its ``box`` as
            proposed, and ``names``: the best names with their probabilities.
        summary: one sentence.
        notes: what else should be known.
    """

    visualization: np.ndarray
    detections: list[dict]
    regions: list[dict]
    summary: str
    notes: list[str] = field(default_factory=list)


def describe(
    model: nn.Module,
    image: UploadedImage,
    encoded: EncodedImage,
    vocabulary: TextEmbeddings,
    found: InstanceData,
    top_k: int,
) -> Outcome:
    """What was found, ready to be shown.

    Args:
        model: The detector.
        image: the uploaded image.
        encoded: The same, encoded.
        vocabulary: ``K`` names.
        found: detections in descending score order, with ``region_inds``.
        top_k: Names listed for each region.
    """
    names = [vocabulary.names[label] for label in found.labels.tolist()]
    scores, boxes = found.scores.cpu().numpy(), found.bboxes.cpu().numpy()
    image = image.shrunk(SHOWN_SIDE)
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
    summary = (
        f'{_count(len(rows), "detection")} of {_count(len(set(names)), "name")} in {image.size} '
        f'pixels; {_count(len(encoded), "region")} compared with '
        f'{_count(len(vocabulary), "name")}.'
    )
    drawn = draw_detections(image.rgb, boxes * image.factor, names, scores, min_side=_SMALLEST_SIDE)
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


def safely(answer: Callable[[], list]) -> list:
    """An answer, or a message in its place; whatever happens, the page lives on."""
    try:
        return answer()
    except UserError as error:
        return blank('error', str(error))
    except Exception:  # a fault of ours: for the log, not for the visitor
        number = uuid4().hex[:8]
        print_log(f'fault {number}\n{traceback.format_exc()}', 'current', logging.ERROR)
        return blank(
            'error',
            f'Something went wrong on the server. Its log has the details under number {number}; '
            'other images and words may still work.',
        )


def answered(outcome: Outcome) -> list:
    """Detections and what regions resemble, as rows of the tables, too."""
    detections = [
        [
            found['name'],
            found['score'],
            ', '.join(f'{v:.0f}' for v in found['box']),
            found['region'],
        ]
        for found in outcome.detections
    ]
    regions = [
        [
            region['region'],
            ', '.join(f'{found["name"]} {found["probability"]:.2f}' for found in region['names']),
        ]
        for region in outcome.regions
    ]
    content = dict(detections=outcome.detections, regions=outcome.regions)
    status = banner('done', outcome.summary, '. '.join(outcome.notes))
    return [status, outcome.visualization, detections, regions, content]


def blank(kind: str, message: str) -> list:
    """A message, and nothing where results would be; ``kind``: wait, done, or error."""
    return [banner(kind, message), None, [], [], None]


def banner(kind: str, message: str, note: str = '') -> str:
    """A message, escaped: it may repeat what the visitor typed."""
    small = f'<div class="rc-note">{html.escape(note)}</div>' if note else ''
    role = 'alert' if kind == 'error' else 'status'
    return f'<div class="rc-status rc-{kind}" role="{role}">{html.escape(message)}{small}</div>'
