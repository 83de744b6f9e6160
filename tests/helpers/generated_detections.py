# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Random objects with boxes and masks, and detections that find some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api

SIDE = 200  # of the images, pixels
COCO_NAMES = ('bird', 'cat', 'cow', 'dog', 'sheep', 'zebra')
COCO_IDS = (3, 4, 7, 11, 12, 20)
LVIS_FREQUENCY = {2: 'f', 5: 'r', 6: 'c', 9: 'r', 11: 'f', 12: 'r'}
LVIS_IDS = tuple(LVIS_FREQUENCY)
LVIS_NAMES = tuple(f'thing {i}' for i in LVIS_IDS)


def random_boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Boxes ``(N, 4)``, x y width height, of small, medium and large area."""
    sides = rng.uniform(8, 140, (number, 2))
    return np.concatenate([rng.uniform(0, SIDE - sides), sides], axis=1)


def polygon(box: Sequence[float], share: float) -> list[float]:
    """The left part of a box."""
    x, y, w, h = map(float, box)
    return [x, y, x + share * w, y, x + share * w, y + h, x, y + h]


def rle(box: Sequence[float], share: float) -> dict:
    return mask_api.merge(mask_api.frPyObjects([polygon(box, share)], SIDE, SIDE))


def objects(rng: np.random.Generator, images: Sequence[int], ids: Sequence[int]) -> list[dict]:
    """Annotations of up to six objects an image; masks fill 70 % of the boxes."""
    annotations = []
    for image in images:
        for box in random_boxes(rng, int(rng.integers(0, 7))):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=int(rng.choice(ids)),
                    bbox=box.tolist(),
                    area=float(mask_api.area(rle(box, 0.7))),
                    segmentation=[polygon(box, 0.7)],
                )
            )
    return annotations


def coco_truth(rng: np.random.Generator, images: int = 12) -> dict[str, Any]:
    """COCO annotations without a single zebra, some of them crowds, categories in no order."""
    annotations = objects(rng, range(images), COCO_IDS[:-1])
    for ann in annotations:
        ann['iscrowd'] = int(rng.random() < 0.1)
        mask = rle(ann['bbox'], 0.7)
        ann['segmentation'] = {**mask, 'counts': mask['counts'].decode()}
    pairs = sorted(zip(COCO_IDS, COCO_NAMES, strict=True), key=lambda pair: pair[1][1])
    return dict(
        info={},
        images=[dict(id=i, width=SIDE, height=SIDE, file_name='') for i in range(images)],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in pairs],
    )


def lvis_truth(rng: np.random.Generator, images: int = 14) -> dict[str, Any]:
    """LVIS annotations without category 12; others partly known to be absent, or incomplete."""
    annotations = objects(rng, range(1, images + 1), LVIS_IDS[:-1])
    rows = []
    for number in range(1, images + 1):
        present = sorted({a['category_id'] for a in annotations if a['image_id'] == number})
        rows.append(
            dict(
                id=number,
                width=SIDE,
                height=SIDE,
                neg_category_ids=[i for i in LVIS_IDS if i not in present and rng.random() < 0.5],
                not_exhaustive_category_ids=[i for i in present if rng.random() < 0.3],
            )
        )
    categories = [
        dict(id=i, name=name, frequency=LVIS_FREQUENCY[i], synonyms=[])
        for i, name in zip(LVIS_IDS, LVIS_NAMES, strict=True)
    ]
    return dict(images=rows, annotations=annotations, categories=categories)


def detections(
    rng: np.random.Generator, truth: dict[str, Any], ids: Sequence[int], noise: int = 6
) -> list[dict]:
    """Per image shifted objects, some misnamed, and random boxes.

    Args:
        rng: Source of all that is random.
        truth: Annotations.
        ids: Category id of each label.
        noise: Random boxes an image.
    """
    samples = []
    for image in truth['images']:
        boxes, labels = [random_boxes(rng, noise)], [rng.integers(0, len(ids), noise)]
        for ann in truth['annotations']:
            if ann['image_id'] == image['id']:
                copies = np.repeat([ann['bbox']], 2, axis=0)
                boxes.append(copies + rng.uniform(-6, 6, copies.shape) * [[0.2], [1]])
                own = ids.index(ann['category_id'])
                labels.append(np.where(rng.random(2) < 0.7, own, rng.integers(0, len(ids), 2)))
        boxes, labels = np.concatenate(boxes), np.concatenate(labels)
        boxes[:, 2:] = boxes[:, 2:].clip(1)
        samples.append(to_sample(image['id'], boxes, labels, rng.random(len(labels))))
    return samples


def to_sample(
    image_id: int, boxes: np.ndarray, labels: Sequence[int], scores: Sequence[float]
) -> dict:
    """What a metric gets; masks fill half of the boxes, which are x y width height."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    masks = [mask_api.decode(rle(box, 0.5)) for box in boxes]
    return dict(
        img_id=image_id,
        ori_shape=(SIDE, SIDE),
        pred_instances=dict(
            bboxes=torch.tensor(corners, dtype=torch.float32),
            labels=torch.tensor(np.asarray(labels, dtype=np.int64)),
            scores=torch.tensor(np.asarray(scores), dtype=torch.float32),
            masks=torch.tensor(np.array(masks).reshape(-1, SIDE, SIDE), dtype=torch.bool),
        ),
    )


def rows_of(samples: Sequence[dict], ids: Sequence[int], kind: str) -> list[dict]:
    """Detections as pycocotools and lvis want them, in the order of the samples."""
    rows = []
    for sample in samples:
        found = sample['pred_instances']
        for box, label, score, mask in zip(*(found[k] for k in found), strict=True):
            x1, y1, x2, y2 = box.tolist()
            place = dict(bbox=[x1, y1, x2 - x1, y2 - y1])
            if kind == 'segm':
                place = dict(segmentation=mask_api.encode(np.asfortranarray(mask.numpy(), 'uint8')))
            row = dict(image_id=sample['img_id'], category_id=ids[label], score=float(score))
            rows.append({**row, **place})
    return rows
