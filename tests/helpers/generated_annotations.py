# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Small annotation files with the categories of COCO and LVIS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regionclip_mmdet.datasets.categories import COCO_80, LVIS_V1

# with gaps, as COCO's own ids
COCO_IDS = {name: 1 + i + i // 9 for i, name in enumerate(COCO_80)}


def image(number: int, **more: Any) -> dict[str, Any]:
    return dict(id=number, file_name=f'{number:012d}.jpg', height=60, width=80, **more)


def annotation(number: int, image_id: int, category_id: int, **more: Any) -> dict[str, Any]:
    box = [2 + number % 5, 3, 20 + number % 30, 30]
    return dict(
        id=number,
        image_id=image_id,
        category_id=category_id,
        bbox=box,
        area=box[2] * box[3],
        iscrowd=0,
        **more,
    )


def coco_instances(objects: Sequence[Sequence[str]]) -> dict[str, Any]:
    """COCO annotations of images with the given names, one image each, ids from 101."""
    rows = [(101 + i, name) for i, names in enumerate(objects) for name in names]
    return dict(
        info=dict(year=2017),
        images=[image(101 + i) for i in range(len(objects))],
        annotations=[annotation(1 + j, i, COCO_IDS[n]) for j, (i, n) in enumerate(rows)],
        categories=[dict(id=i, name=name) for name, i in COCO_IDS.items()],
    )


def lvis_instances(objects: Sequence[Sequence[int]], split: str = 'val') -> dict[str, Any]:
    """LVIS annotations of images with the given category ids, ids from 201.

    Every image has categories 1 (common), 3 (frequent) and 13 (rare) as known to be absent unless
    they are there.
    """
    images = []
    for i, ids in enumerate(objects):
        entry = image(
            201 + i,
            coco_url=f'http://images.cocodataset.org/{split}2017/{201 + i:012d}.jpg',
            neg_category_ids=[c for c in (1, 3, 13) if c not in ids],
            not_exhaustive_category_ids=[],
        )
        del entry['file_name']
        images.append(entry)
    rows = [(201 + i, c) for i, ids in enumerate(objects) for c in ids]
    annotations = []
    for j, (i, c) in enumerate(rows):
        ann = annotation(1 + j, i, c)
        x, y, w, h = ann['bbox']
        ann['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotations.append(ann)
    categories = [
        dict(id=c.id, name=c.name, frequency=c.frequency, synonyms=list(c.synonyms))
        for c in LVIS_V1
    ]
    return dict(images=images, annotations=annotations, categories=categories)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')
    return path
