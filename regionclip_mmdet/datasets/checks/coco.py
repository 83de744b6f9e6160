# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of COCO-format annotations: what mmdet would drop, shift or stumble over later."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Of an image in an LVIS file: categories known to be absent, or not annotated completely.
LVIS_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')
PARTS = ('images', 'annotations', 'categories')
# No image is so large, and no place in one so far out; float32 still tells pixels apart.
MOST_PIXELS = 1e7


@dataclass
class CocoReport:
    """What a file holds, and what mmdet makes of it.

    Attributes:
        images: Images.
        annotations: Boxes, crowd boxes included.
        images_without_boxes: Images no box refers to: legal, all their regions are background.
        tiny: Boxes mmdet leaves out: no area, or a side under one pixel.
        outside: Boxes mmdet leaves out: no pixel inside the image.
        cut: Boxes that reach out of the image: kept; mmdet's Resize cuts them at its border.
        ignored: Boxes with ``"ignore": 1``: they are neither trained on nor evaluated.
    """

    images: int
    annotations: int
    images_without_boxes: int
    tiny: int
    outside: int
    cut: int
    ignored: int = 0

    @property
    def left_out(self) -> int:
        """Boxes that will not be seen in training."""
        return self.tiny + self.outside

    def __str__(self) -> str:
        parts = [f'{self.images} images, {self.annotations} boxes']
        for count, text in (
            (self.images_without_boxes, 'images without boxes'),
            (self.tiny, 'boxes left out: no area or a side under 1 pixel'),
            (self.outside, 'boxes left out: outside their image'),
            (self.cut, 'boxes reach out of their image and are cut'),
            (self.ignored, 'boxes with "ignore": 1, neither trained on nor evaluated'),
        ):
            if count:
                parts.append(f'{count} {text}')
        return '; '.join(parts)


def check_coco(content: Any, path: str, files: bool = True, areas: bool = True) -> CocoReport:
    """Refuse annotations that cannot be meant; count what mmdet treats specially.

    Masks have a check of their own, ``check_masks``, where they are wanted.

    Args:
        content: A COCO (or LVIS) file as parsed.
        path: Path of the file, for error messages.
        files: Whether images must have a file name and a size; metrics can do without.
        areas: Whether annotations need an ``area``; otherwise theirs is not looked at.

    Raises:
        ValueError: Missing parts; ids that are missing, double, unknown or none; images without
            name or size; boxes that are no four finite numbers or have negative sides; more than
            half of all boxes unusable. Names file and record.
    """
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(part), list) for part in PARTS
    ):
        missing = [p for p in PARTS if not isinstance(content, Mapping) or p not in content]
        raise ValueError(
            f"{path} is no COCO annotation file: it needs the lists 'images', 'annotations' and "
            f"'categories'{f'; missing: {missing}' if missing else ''}."
        )
    images = index_records(content['images'], 'image', path)
    categories = index_records(content['categories'], 'category', path)
    index_records(content['annotations'], 'annotation', path)
    _check_names(content['categories'], path)
    for number, image in enumerate(content['images']):
        _check_image(image, f'{path}, image {number} (id {image["id"]})', files)
    for number, ann in enumerate(content['annotations']):
        for key, known in (('image_id', images), ('category_id', categories)):
            value = ann.get(key)
            if not is_id(value) or value not in known:
                raise ValueError(
                    f'{path}, annotation {number} (id {ann["id"]}): {key} {shown(value)} is not '
                    f'among the {"images" if key == "image_id" else "categories"} of the file.'
                )
        for key in ('iscrowd', 'ignore'):
            if ann.get(key) not in (None, 0, 1):
                raise ValueError(
                    f'{path}, annotation {number} (id {ann["id"]}): {key} must be 0 or 1, not '
                    f'{shown(ann[key])}.'
                )
    return _check_boxes(content['annotations'], images, path, areas)


def index_records(entries: list, what: str, path: str) -> dict[Any, dict]:
    """Entries by id, which must be there once each.

    Args:
        entries: Images, annotations or categories.
        what: One of them, for messages.
        path: Path of the file, for error messages.

    Raises:
        ValueError: One is no object, or its id is missing, none, or another's, too.
    """
    found: dict[Any, dict] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or 'id' not in entry:
            raise ValueError(f"{path}, {what} {number}: needs an object with the key 'id'.")
        if not is_id(entry['id']):
            raise ValueError(
                f'{path}, {what} {number}: an id is a number or a text, not {shown(entry["id"])}.'
            )
        if entry['id'] in found:
            raise ValueError(
                f'{path}, {what} {number}: the id {entry["id"]!r} occurs twice. Ids of each kind '
                'must be distinct; of equal ones only the last would be used.'
            )
        found[entry['id']] = entry
    return found


def is_id(value: Any) -> bool:
    """Whether records can be told apart by it: text, or a number that equals itself."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def is_id_list(value: Any) -> bool:
    """Whether it is a list of ids."""
    return isinstance(value, list) and all(map(is_id, value))


def is_pixels(value: Any) -> bool:
    """Whether it is a finite number that can be a place or a length in an image."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -MOST_PIXELS <= value <= MOST_PIXELS
    )


def is_file_name(value: Any) -> bool:
    """Whether it is text that a file can be called."""
    if not isinstance(value, str) or not value or '\0' in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return True


def shown(value: Any) -> str:
    """A value for a message: in one line, and not longer than that."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number too long to print; nested deeply
        text = f'a value of type {type(value).__name__}'
    return text if len(text) <= 80 else f'{text[:77]}...'


def _check_names(categories: list, path: str) -> None:
    for number, category in enumerate(categories):
        name = category.get('name')
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f'{path}, category {number} (id {category["id"]}): category names must be present '
                f'and distinct texts, not {shown(name)}.'
            )
    counts = Counter(category['name'] for category in categories)
    doubles = sorted(name for name, count in counts.items() if count > 1)
    if doubles:
        raise ValueError(
            f'{path}: category names must be present and distinct; double: {doubles[:5]}.'
        )


def _check_image(image: Mapping, where: str, files: bool) -> None:
    names = [image[key] for key in ('file_name', 'coco_url') if image.get(key) is not None]
    if (files and not names) or not all(is_file_name(n) or (n == '' and not files) for n in names):
        raise ValueError(
            f"{where}: needs 'file_name', a path below the image folder"
            f'{f", not {shown(names)}" if names else ""}.'
        )
    for key in ('height', 'width'):
        size = image.get(key)
        if (files or size is not None) and not (is_pixels(size) and size > 0):
            raise ValueError(
                f'{where}: {key} must be a positive number of pixels, not {shown(size)}.'
            )


def _check_boxes(
    annotations: list, images: Mapping[Any, Mapping], path: str, need_areas: bool
) -> CocoReport:
    boxes, areas = _boxes(annotations, path, need_areas)
    owners = [images[ann['image_id']] for ann in annotations]
    sizes = [(i.get('width') or np.inf, i.get('height') or np.inf) for i in owners]
    sizes = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    tiny = (areas <= 0) | (boxes[:, 2:] < 1).any(axis=1)
    outside = ((np.minimum(high, sizes) - np.maximum(low, 0)) <= 0).any(axis=1) & ~tiny
    # a pixel of slack: many files count their last pixel in
    cut = ((low < -1) | (high > sizes + 1)).any(axis=1) & ~tiny & ~outside
    report = CocoReport(
        images=len(images),
        annotations=len(annotations),
        images_without_boxes=len(images) - len({ann['image_id'] for ann in annotations}),
        tiny=int(tiny.sum()),
        outside=int(outside.sum()),
        cut=int(cut.sum()),
        ignored=sum(bool(ann.get('ignore')) for ann in annotations),
    )
    if report.left_out > len(annotations) / 2:
        first = int(np.flatnonzero(tiny | outside)[0])
        raise ValueError(
            f'{path}: {report.left_out} of {len(annotations)} boxes are smaller than a pixel or '
            f'outside their image, e.g. annotation {first} with bbox '
            f'{boxes[first].tolist()} in an image of {sizes[first].tolist()} (width, height). '
            'Boxes must be (x, y, width, height) in pixels.'
        )
    return report


def _boxes(annotations: list, path: str, need_areas: bool) -> tuple[np.ndarray, np.ndarray]:
    """All boxes ``(N, 4)``, x y width height, and areas ``(N,)``; refuses the first bad one."""
    try:
        # no dtype: numpy would turn the string '1' into a number, which mmdet does not
        boxes = np.array([ann['bbox'] for ann in annotations] or np.zeros((0, 4)))
        areas = boxes[:, 2] * boxes[:, 3]
        if need_areas:
            areas = np.array([ann['area'] for ann in annotations] or np.zeros(0))
        fine = boxes.shape == (len(annotations), 4) and areas.shape == (len(annotations),)
        fine = fine and all(a.dtype.kind in 'iuf' and np.isfinite(a).all() for a in (boxes, areas))
        fine = fine and bool((np.abs(boxes) <= MOST_PIXELS).all() and (boxes[:, 2:] >= 0).all())
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, RecursionError):
        fine = False
    if fine:
        return boxes.astype(np.float64), areas.astype(np.float64)
    for number, ann in enumerate(annotations):
        where = f'{path}, annotation {number} (id {ann["id"]}, image_id {ann["image_id"]})'
        box = ann.get('bbox')
        if not (isinstance(box, list | tuple) and len(box) == 4 and all(map(is_pixels, box))):
            raise ValueError(
                f'{where}: bbox must be four finite numbers (x, y, width, height), not '
                f'{shown(box)}.'
            )
        if min(box[2:]) < 0:
            raise ValueError(
                f'{where}: bbox {box} has a negative side; boxes are (x, y, width, height).'
            )
        if need_areas and not _is_area(ann.get('area')):
            raise ValueError(
                f"{where}: 'area' must be a finite number (mmdet and COCO's metrics read it), not "
                f'{shown(ann.get("area"))}; without masks it is width * height.'
            )
    raise AssertionError('unreachable: the fast check refused what the slow one accepts')


def _is_area(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(MOST_PIXELS**2) <= value <= MOST_PIXELS**2
