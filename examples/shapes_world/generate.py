# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Write a shapes world to disk: images, COCO boxes and polygons, captions, manifest."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, CATEGORY_IDS, CLASSES
from regionclip_mmdet.fileio import naming_write_errors

from .captions import sample_captions
from .drawing import DrawnObject, draw_background, object_mask, sample_object
from .spec import GENERATOR_VERSION, ShapesWorldSpec

MANIFEST = 'world.json'
ANNOTATION_FILES: tuple[str, ...] = ('instances.json', 'instances_base.json', 'captions.json')
PLACEMENT_TRIES = 60


def image_rng(spec: ShapesWorldSpec, index: int) -> np.random.Generator:
    """Generator of one image; independent of every other image and of the worker count."""
    label = zlib.crc32(f'{spec.kind}/{spec.split}'.encode())
    return np.random.default_rng([spec.seed, label, index])


def _overlap(first: DrawnObject, second: DrawnObject) -> float:
    """Intersection of two boxes over the smaller one."""
    a, b = np.array(first.box), np.array(second.box)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return float(sides.prod() / smaller)


def sample_objects(
    rng: np.random.Generator,
    spec: ShapesWorldSpec,
    sample: Callable[..., DrawnObject] = sample_object,
) -> list[DrawnObject]:
    """Draw the objects of one image; each is kept clear of the ones before it.

    An object that finds no free place is tried smaller, and left out in the end.

    Args:
        rng: Source of randomness.
        spec: Numbers and sizes.
        sample: Draws one object, as ``sample_object`` does.
    """
    weights = np.array(spec.count_weights) / sum(spec.count_weights)
    count = int(rng.choice(spec.object_counts, p=weights))
    low, high = spec.object_size
    objects: list[DrawnObject] = []
    for _ in range(count):
        size = rng.uniform(low, high)
        for attempt in range(PLACEMENT_TRIES):
            if attempt % 10 == 9:
                size = max(low, 0.8 * size)
            candidate = sample(rng, size, spec.image_size, spec.color_jitter)
            if all(_overlap(candidate, other) <= spec.max_overlap for other in objects):
                objects.append(candidate)
                break
    return objects


def render(
    rng: np.random.Generator, objects: list[DrawnObject], spec: ShapesWorldSpec
) -> Image.Image:
    """Paint background, then objects in order (a later one may cover a little of an earlier)."""
    image = draw_background(rng, spec.image_size, objects, spec.min_contrast)
    for obj in objects:
        mask, corner = object_mask(obj, spec.image_size, spec.supersample)
        image.paste(obj.rgb, (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)
    return image


def sample_image(
    spec: ShapesWorldSpec, index: int
) -> tuple[Image.Image, list[DrawnObject], list[str]]:
    """Image number ``index`` of a world, its objects and its captions."""
    rng = image_rng(spec, index)
    objects = sample_objects(rng, spec)
    captions = sample_captions(rng, [obj.name for obj in objects], spec.captions_per_image)
    return render(rng, objects, spec), objects, captions


def _file_name(index: int) -> str:
    return f'{index:06d}.jpg'


def _annotation(obj: DrawnObject) -> dict[str, Any]:
    x1, y1, x2, y2 = obj.box
    return {
        'category_id': CATEGORY_IDS[obj.name],
        'bbox': [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
        'segmentation': [[round(float(v), 2) for v in obj.polygon.ravel()]],
        'area': round(obj.area, 2),
        'iscrowd': 0,
    }


def _write_image(index: int, spec: ShapesWorldSpec, folder: str) -> dict[str, Any]:
    """Write one image; return its annotations, captions and the hash of its bytes."""
    image, objects, captions = sample_image(spec, index)
    buffer = io.BytesIO()
    image.save(buffer, format='JPEG', quality=spec.jpeg_quality)
    data = buffer.getvalue()
    (Path(folder) / _file_name(index)).write_bytes(data)
    return {
        'annotations': [_annotation(obj) for obj in objects],
        'captions': captions,
        'sha256': hashlib.sha256(data).hexdigest(),
    }


@contextmanager
def _mapper(num_workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A lazy, ordered map over processes, or the built-in one for fewer than two."""
    if num_workers < 2:
        yield map
        return
    # fork spares every worker the import of torch; the workers use neither it nor threads
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
    with multiprocessing.get_context(method).Pool(num_workers) as pool:
        yield partial(pool.imap, chunksize=32)


def _number(records: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Give image and annotation ids, both from 1, to per-image lists of annotations."""
    pairs = [(i + 1, ann) for i, anns in enumerate(records) for ann in anns]
    return [{'id': j + 1, 'image_id': i, **ann} for j, (i, ann) in enumerate(pairs)]


def _annotation_files(
    spec: ShapesWorldSpec, records: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    side = spec.image_size
    images = [
        {'id': i + 1, 'file_name': _file_name(i), 'width': side, 'height': side}
        for i in range(len(records))
    ]
    instances = _number([record['annotations'] for record in records])
    captions = _number([[{'caption': c} for c in record['captions']] for record in records])
    categories = [
        {'id': CATEGORY_IDS[name], 'name': name, 'supercategory': name.split()[1]}
        for name in CLASSES
    ]
    base_categories = [category for category in categories if category['name'] in BASE_CLASSES]
    base_ids = {category['id'] for category in base_categories}
    base = [ann for ann in instances if ann['category_id'] in base_ids]
    return {
        'instances.json': {
            'images': images, 'annotations': instances, 'categories': categories
        },
        'instances_base.json': {
            'images': images, 'annotations': base, 'categories': base_categories
        },
        'captions.json': {'images': images, 'annotations': captions},
    }  # fmt: skip


def _content_hash(root: Path, image_hashes: list[str]) -> str:
    total = hashlib.sha256()
    for name in ANNOTATION_FILES:
        total.update(hashlib.sha256((root / name).read_bytes()).digest())
    for image_hash in image_hashes:
        total.update(bytes.fromhex(image_hash))
    return total.hexdigest()


def is_complete(root: str | Path, spec: ShapesWorldSpec) -> bool:
    """Whether ``root`` holds exactly the world of ``spec``, every file unchanged."""
    root = Path(root)
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding='utf-8'))
        expected = {'version': GENERATOR_VERSION, 'spec': spec.to_dict()}
        if {key: manifest.get(key) for key in expected} != expected:
            return False
        images = [root / 'images' / _file_name(i) for i in range(spec.num_images)]
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in images]
        return _content_hash(root, hashes) == manifest['content_sha256']
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def make_shapes_world(
    root: str | Path, spec: ShapesWorldSpec, num_workers: int = 2, progress: bool = True
) -> Path:
    """Write the world of ``spec`` to ``root``, unless it is there already.

    Files: ``images/*.jpg``, ``instances.json`` (all 64 categories), ``instances_base.json`` (the
    same images with base boxes and base categories only), ``captions.json``, ``world.json``.
    Everything is written next to ``root`` first and moved at the end, so an interrupted run
    leaves no half world behind. A world with other parameters, or a damaged one, is replaced.

    Args:
        root: Folder to create.
        spec: What to generate.
        num_workers: Processes; the files are the same for every number.
        progress: Show a progress bar.

    Returns:
        ``root`` as a path.
    """
    root = Path(root)
    if is_complete(root, spec):
        return root
    if root.exists() and any(root.iterdir()) and not (root / MANIFEST).exists():
        raise FileExistsError(
            f'{root} exists and holds no {MANIFEST}, so it is not a shapes world and is left '
            'alone. Choose another folder or remove this one.'
        )
    partial_root = root.with_name(root.name + '.partial')
    shutil.rmtree(partial_root, ignore_errors=True)
    try:
        with naming_write_errors(root):
            _make(partial_root, root, spec, num_workers, progress)
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)
    return root


def _make(
    partial_root: Path, root: Path, spec: ShapesWorldSpec, num_workers: int, progress: bool
) -> None:
    folder = partial_root / 'images'
    folder.mkdir(parents=True)
    write = partial(_write_image, spec=spec, folder=str(folder))
    with _mapper(num_workers) as mapper:
        records = list(
            tqdm(
                mapper(write, range(spec.num_images)),
                total=spec.num_images,
                desc=root.name,
                unit='img',
                disable=not progress,
            )
        )
    for name, content in _annotation_files(spec, records).items():
        (partial_root / name).write_text(json.dumps(content), encoding='utf-8')
    manifest = {
        'version': GENERATOR_VERSION,
        'spec': spec.to_dict(),
        'content_sha256': _content_hash(partial_root, [r['sha256'] for r in records]),
    }
    (partial_root / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding='utf-8')
    if root.exists():
        shutil.rmtree(root)
    partial_root.rename(root)
