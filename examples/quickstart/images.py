# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The report's images, made from the stages' files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regionclip_mmdet.fileio import read_json
from regionclip_mmdet.visualization import contact_sheet

from .drawing import (
    BASE_COLOR,
    NEUTRAL_COLOR,
    NOVEL_COLOR,
    RIGHT_COLOR,
    WRONG_COLOR,
    draw_boxes,
    draw_curves,
    titled,
)
from .runs import read_curves
from .statistics import box_iou_xywh

NOVEL_MARK = '◆ '
MIN_SCORE = 0.5
SCALE = 4.0
# Runs with curves: title, folder below the seed's folder, logged scalar to its shown name.
CURVES = (
    ('CLIP: captions', 'clip/train', dict(loss_image_text='image-text')),
    ('Localizer', 'localizer/train', dict(loss_rpn_cls='objectness', loss_rpn_bbox='boxes')),
    (
        'RegionCLIP: pretraining',
        'pretrain/train',
        dict(
            loss_image_text='image-text',
            loss_region_contrast='region-text contrast',
            loss_region_distill='distillation',
        ),
    ),
    ('Transfer: classification', 'transfer/{}/train', dict(loss_cls='from {}')),
)
INITIALIZATIONS = dict(clip='CLIP', regionclip='RegionCLIP')


def curves_image(folder: Path, path: Path) -> Path:
    """Loss curves of every stage that trains.

    Args:
        folder: Folder of a seed.
        path: File to write.
    """
    panels = []
    for title, run, keys in CURVES:
        curves: dict[str, tuple] = {}
        for name, shown in INITIALIZATIONS.items() if '{}' in run else [('', '')]:
            named = {key: label.format(shown) for key, label in keys.items()}
            curves.update(read_curves(folder / run.format(name), named))
        panels.append((title, curves))
    draw_curves(panels, path)
    return path


class Scenes:
    """Annotated scenes with their image files.

    Args:
        folder: A world's folder with ``images/`` and ``instances.json``.
        novel: Names of novel categories.
    """

    def __init__(self, folder: Path, novel: Sequence[str]) -> None:
        content = read_json(folder / 'instances.json')
        self.folder = folder
        self.novel = set(novel)
        self.names = {category['id']: category['name'] for category in content['categories']}
        self.files = {image['id']: image['file_name'] for image in content['images']}
        self.objects: dict[int, list[dict]] = {image_id: [] for image_id in self.files}
        for annotation in content['annotations']:
            self.objects[annotation['image_id']].append(annotation)

    def image(self, image_id: int) -> Image.Image:
        """The image."""
        return Image.open(self.folder / 'images' / self.files[image_id])

    def with_novel(self, number: int) -> list[int]:
        """The first scenes that hold a novel object: no other choice is made."""
        found = [
            i
            for i, objects in self.objects.items()
            if any(self.names[o['category_id']] in self.novel for o in objects)
        ]
        return found[:number]

    def mark(self, name: str) -> str:
        """The name, with a mark if it is novel."""
        return NOVEL_MARK + name if name in self.novel else name

    def draw_truth(self, image_id: int) -> Image.Image:
        """The scene with its annotated boxes."""
        names = [self.names[o['category_id']] for o in self.objects[image_id]]
        colors = [NOVEL_COLOR if name in self.novel else BASE_COLOR for name in names]
        boxes = [to_corners(o['bbox']) for o in self.objects[image_id]]
        return draw_boxes(self.image(image_id), boxes, [self.mark(n) for n in names], colors, SCALE)

    def draw_detections(self, image_id: int, detections: Sequence[Mapping]) -> Image.Image:
        """The scene with detections: green named right, red named wrong, gray on no object."""
        objects = self.objects[image_id]
        truth = np.array([o['bbox'] for o in objects], dtype=float).reshape(-1, 4)
        boxes, labels, colors = [], [], []
        for found in detections:
            overlap = box_iou_xywh(np.array([found['bbox']], dtype=float), truth)[0]
            color = NEUTRAL_COLOR
            if len(overlap) and overlap.max() >= 0.5:
                right = objects[int(overlap.argmax())]['category_id'] == found['category_id']
                color = RIGHT_COLOR if right else WRONG_COLOR
            boxes.append(to_corners(found['bbox']))
            labels.append(f'{self.mark(self.names[found["category_id"]])} {found["score"]:.2f}')
            colors.append(color)
        return draw_boxes(self.image(image_id), boxes, labels, colors, SCALE)


def to_corners(box: Sequence[float]) -> list[float]:
    """``(x, y, w, h)`` to ``(x1, y1, x2, y2)``."""
    x, y, w, h = box
    return [x, y, x + w, y + h]


def best_per_place(detections: Sequence[dict], min_score: float = MIN_SCORE) -> list[dict]:
    """Detections worth drawing: above a score, and the best one only where several overlap."""
    kept: list[dict] = []
    for found in sorted(detections, key=lambda d: -d['score']):
        if found['score'] < min_score:
            break
        others = np.array([k['bbox'] for k in kept], dtype=float).reshape(-1, 4)
        overlap = box_iou_xywh(np.array([found['bbox']], dtype=float), others)
        if not (overlap >= 0.5).any():
            kept.append(found)
    return kept


def detections_image(
    scenes: Scenes, columns: Sequence[tuple[str, Path]], path: Path, number: int = 4
) -> Path:
    """Held-out scenes in rows: annotated, then each detector's result.

    Args:
        scenes: The held-out scenes.
        columns: Title and result file of each detector.
        path: File to write.
        number: How many scenes.
    """
    found = {title: load_detections(file) for title, file in columns}
    tiles = []
    for row, image_id in enumerate(scenes.with_novel(number)):
        images = {'annotated (◆ novel)': scenes.draw_truth(image_id)}
        for title, by_image in found.items():
            best = best_per_place(by_image.get(image_id, []))
            images[title] = scenes.draw_detections(image_id, best)
        tiles += [titled(i, t) if row == 0 else titled(i, '') for t, i in images.items()]
    sheet = contact_sheet(tiles, columns=1 + len(columns), gap=14)
    Image.fromarray(sheet).save(path, quality=88)
    return path


def load_detections(file: Path) -> dict[int, list[dict]]:
    """Detections of a COCO-format result file by image."""
    by_image: dict[int, list[dict]] = {}
    for detection in read_json(file):
        by_image.setdefault(detection['image_id'], []).append(detection)
    return by_image


def pseudo_labels_image(scenes: Scenes, label_file: Path, path: Path, number: int = 6) -> Path:
    """What the teacher called the regions of the first scenes.

    Args:
        scenes: The scenes of pretraining.
        label_file: Written by ``predict_pseudo_labels``.
        path: File to write.
        number: How many scenes.
    """
    tiles = []
    labeled: list[dict[str, Any]] = read_json(label_file)
    for scene in labeled[:number]:
        regions = [
            dict(r, bbox=[r['bbox'][0], r['bbox'][1], *np.subtract(r['bbox'][2:], r['bbox'][:2])])
            for r in scene['regions']
        ]
        regions = best_per_place(regions, min_score=0.0)
        colors = [
            NEUTRAL_COLOR
            if r['truth'] is None
            else (RIGHT_COLOR if r['truth'] == r['name'] else WRONG_COLOR)
            for r in regions
        ]
        image = draw_boxes(
            scenes.image(scene['img_id']),
            [to_corners(r['bbox']) for r in regions],
            [f'{r["name"]} {r["score"]:.2f}' for r in regions],
            colors,
            SCALE,
        )
        tiles.append(titled(image, textwrap.shorten(scene['caption'], 54, placeholder=' ...')))
    Image.fromarray(contact_sheet(tiles, columns=3, gap=14)).save(path, quality=88)
    return path
