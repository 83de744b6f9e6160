# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A small dataset as a user has one: a few images, COCO files with names and ids of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from regionclip_mmdet.datasets.preparation import write_all
from regionclip_mmdet.fileio import read_json

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
    """Write 20 images and their COCO files; those of an earlier call are replaced.

    Files: ``train/*.jpg`` and ``val/*.jpg`` (12 and 8), ``annotations/train.json`` with boxes of
    ``BASE_NAMES`` alone, ``annotations/val.json`` with boxes of all names. Objects with novel names
    are in the training images, too, without boxes.

    Args:
        root: Folder to create.
        seed: Seed of all images.

    Raises:
        FileExistsError: Other images or annotations lie there; nothing is changed.
    """
    root = Path(root)
    for part in IMAGES:
        _refuse_others(root, part)
    contents = {}
    for part, number in IMAGES.items():
        spec = ShapesWorldSpec('scenes', number, seed=seed, split=f'example_{part}')
        (root / part).mkdir(parents=True, exist_ok=True)
        contents[root / 'annotations' / f'{part}.json'] = _write_images(
            root / part, spec, _names(part)
        )
    write_all(contents, progress=False)
    return root


def _names(part: str) -> tuple[str, ...]:
    """Names that have boxes."""
    return BASE_NAMES if part == 'train' else tuple(CATEGORY_IDS)


def _categories(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [dict(id=CATEGORY_IDS[name], name=name) for name in names]


def _file_name(index: int) -> str:
    return f'photo_{index + 1:02d}.jpg'


def _refuse_others(root: Path, part: str) -> None:
    """A dataset of the user's own has folders and files of these names as well."""
    written = {_file_name(index) for index in range(IMAGES[part])}
    others = [path for path in sorted((root / part).glob('*')) if path.name not in written]
    annotations = root / 'annotations' / f'{part}.json'
    if annotations.exists() and not _is_ours(annotations, part):
        others.insert(0, annotations)
    if others:
        raise FileExistsError(
            f'{others[0]} is not of this example. Nothing was changed: name a folder of its own.'
        )


def _is_ours(annotations: Path, part: str) -> bool:
    try:
        content = read_json(annotations)
        return content['categories'] == _categories(_names(part))
    except (ValueError, TypeError, KeyError):
        return False


def _write_images(folder: Path, spec: ShapesWorldSpec, names: tuple[str, ...]) -> dict[str, Any]:
    """Write the images; returns the annotations of some names."""
    images, annotations = [], []
    for index in range(spec.num_images):
        rng = image_rng(spec, index)
        objects = sample_objects(rng, spec, _sample_known)
        image = render(rng, objects, spec)
        name = _file_name(index)
        image.save(folder / name, quality=spec.jpeg_quality)
        images.append(dict(id=100 + index, file_name=name, width=image.width, height=image.height))
        for obj in objects:
            if obj.name in names:
                annotations.append(_annotation(obj, len(annotations) + 1, 100 + index))
    return dict(images=images, annotations=annotations, categories=_categories(names))


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
