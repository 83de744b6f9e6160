# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A small dataset as a user has one: a few images, COCO files with names and ids of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..preparation.files import write_all
from .drawing import DrawnObject, sample_object
from .generate import image_rng, render, sample_objects
from .spec import ShapesWorldSpec

# Names with boxes for training, and two that have boxes in the validation file alone.
BASE_NAMES: tuple[str, ...] = (
    'yellow star',
    'blue ring',
    'red heart',
    'green cross',
    'white moon',
    'purple triangle',
)
NOVEL_NAMES: tuple[str, ...] = ('orange circle', 'cyan square')
# As public files have them: neither from 1 nor without gaps.
CATEGORY_IDS: dict[str, int] = {
    name: 7 * i + 3 for i, name in enumerate((*BASE_NAMES, *NOVEL_NAMES))
}
IMAGES: dict[str, int] = {'train': 12, 'val': 8}


def make_example_dataset(root: str | Path, seed: int = 0) -> Path:
    """Write 20 images and their COCO files; what is there already is replaced.

    Files: ``train/*.jpg`` and ``val/*.jpg`` (12 and 8), ``annotations/train.json`` with boxes of
    ``BASE_NAMES`` alone, ``annotations/val.json`` with boxes of all names. Objects with novel names
    are in the training images, too, without boxes.

    Args:
        root: Folder to create.
        seed: Of all images.
    """
    root = Path(root)
    contents = {}
    for part, number in IMAGES.items():
        spec = ShapesWorldSpec('scenes', number, seed=seed, split=f'example_{part}')
        shutil.rmtree(root / part, ignore_errors=True)
        (root / part).mkdir(parents=True)
        names = BASE_NAMES if part == 'train' else tuple(CATEGORY_IDS)
        contents[root / 'annotations' / f'{part}.json'] = _write_images(root / part, spec, names)
    write_all(contents, progress=False)
    return root


def _write_images(folder: Path, spec: ShapesWorldSpec, names: tuple[str, ...]) -> dict[str, Any]:
    """Write the images; returns the annotations of some names."""
    images, annotations = [], []
    for index in range(spec.num_images):
        rng = image_rng(spec, index)
        objects = sample_objects(rng, spec, _sample_known)
        image = render(rng, objects, spec)
        name = f'photo_{index + 1:02d}.jpg'
        image.save(folder / name, quality=spec.jpeg_quality)
        images.append(dict(id=100 + index, file_name=name, width=image.width, height=image.height))
        for obj in objects:
            if obj.name in names:
                annotations.append(_annotation(obj, len(annotations) + 1, 100 + index))
    categories = [dict(id=CATEGORY_IDS[name], name=name) for name in names]
    return dict(images=images, annotations=annotations, categories=categories)


def _sample_known(rng: np.random.Generator, *args: Any) -> DrawnObject:
    """An object with one of the names."""
    while True:
        obj = sample_object(rng, *args)
        if obj.name in CATEGORY_IDS:
            return obj


def _annotation(obj: DrawnObject, number: int, image_id: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(v) for v in obj.box)
    return dict(
        id=number,
        image_id=image_id,
        category_id=CATEGORY_IDS[obj.name],
        bbox=[round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
        area=round(obj.area, 2),
        iscrowd=0,
    )
