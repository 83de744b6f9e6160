# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of COCO-format annotations: what mmdet would drop, shift or stumble over later."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from mmengine.fileio import exists, get_local_path

PARTS = ('images', 'annotations', 'categories')


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
    """

    images: int
    annotations: int
    images_without_boxes: int
    tiny: int
    outside: int
    cut: int

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
        ):
            if count:
                parts.append(f'{count} {text}')
        return '; '.join(parts)


def require_file(
    path: str,
    backend_args: dict | None = None,
    who: str = 'The dataset',
    get_with: str | None = None,
) -> None:
    """Refuse an annotation file that is not there.

    Args:
        path: A file.
        backend_args: mmengine file backend.
        who: For the message.
        get_with: A command that makes or downloads the file, for the message.

    Raises:
        FileNotFoundError: No such file.
    """
    if not exists(path, backend_args=backend_args):
        remedy = f' Get it with: {get_with}' if get_with else ''
        raise FileNotFoundError(
            f'{who}: no annotation file {path}. Check ann_file and data_root.{remedy}'
        )


def read_json(path: str, backend_args: dict | None = None, who: str = 'The dataset') -> Any:
    """Content of a JSON file.

    Args:
        path: A file.
        backend_args: mmengine file backend.
        who: For messages.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not JSON, or not UTF-8.
    """
    require_file(path, backend_args, who)
    with get_local_path(path, backend_args=backend_args) as local:
        return parse_json(local, path)


def parse_json(local: str, path: str) -> Any:
    """Content of a local JSON file (UTF-8, with or without a byte order mark).

    Raises:
        ValueError: Not JSON, or not UTF-8; the message calls the file ``path``.
    """
    try:
        with open(local, encoding='utf-8-sig') as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no valid JSON: {error}') from None


def check_coco(content: Any, path: str) -> CocoReport:
    """Refuse annotations that cannot be meant; count what mmdet treats specially.

    Args:
        content: A COCO (or LVIS) file as parsed.
        path: Of the file, for messages.

    Raises:
        ValueError: Missing parts; ids that are missing, double or unknown; images without name
            or size; boxes that are no four finite numbers or have negative sides; more than half
            of all boxes unusable.
    """
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(part), list) for part in PARTS
    ):
        missing = [p for p in PARTS if not isinstance(content, Mapping) or p not in content]
        raise ValueError(
            f"{path} is no COCO annotation file: it needs the lists 'images', 'annotations' and "
            f"'categories'{f'; missing: {missing}' if missing else ''}."
        )
    images = _index(content['images'], 'image', path)
    categories = _index(content['categories'], 'category', path)
    _index(content['annotations'], 'annotation', path)
    names = [category.get('name') for category in content['categories']]
    doubles = sorted(str(name) for name, count in Counter(names).items() if count > 1)
    if doubles or None in names:
        raise ValueError(
            f'{path}: category names must be present and distinct'
            f'{f"; double: {doubles[:5]}" if doubles else ""}.'
        )
    for number, image in enumerate(content['images']):
        _check_image(image, f'{path}, image {number} (id {image["id"]})')
    for number, ann in enumerate(content['annotations']):
        for key, known in (('image_id', images), ('category_id', categories)):
            if ann.get(key) not in known:
                raise ValueError(
                    f'{path}, annotation {number} (id {ann["id"]}): {key} {ann.get(key)!r} is not '
                    f'among the {"images" if key == "image_id" else "categories"} of the file.'
                )
    return _check_boxes(content['annotations'], images, path)


def _index(entries: list, what: str, path: str) -> dict[Any, dict]:
    """Entries by id, which must be there once each."""
    found: dict[Any, dict] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or 'id' not in entry:
            raise ValueError(f"{path}, {what} {number}: needs an object with the key 'id'.")
        if entry['id'] in found:
            raise ValueError(
                f'{path}, {what} {number}: the id {entry["id"]!r} occurs twice. Ids of each kind '
                'must be distinct; of equal ones only the last would be used.'
            )
        found[entry['id']] = entry
    return found


def _check_image(image: Mapping, where: str) -> None:
    if not isinstance(image.get('file_name', image.get('coco_url')), str):
        raise ValueError(f"{where}: needs 'file_name', a path below the image folder.")
    for key in ('height', 'width'):
        size = image.get(key)
        if not isinstance(size, (int, float)) or not size > 0:
            raise ValueError(f'{where}: {key} must be a positive number of pixels, not {size!r}.')


def _check_boxes(annotations: list, images: Mapping[Any, Mapping], path: str) -> CocoReport:
    boxes = _boxes(annotations, path)
    owners = [images[ann['image_id']] for ann in annotations]
    sizes = np.array([(i['width'], i['height']) for i in owners], dtype=np.float64).reshape(-1, 2)
    areas = np.array([ann['area'] for ann in annotations], dtype=np.float64)
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


def _boxes(annotations: list, path: str) -> np.ndarray:
    """All boxes ``(N, 4)``, x y width height; refuses the first bad one."""
    try:
        # no dtype: numpy would turn the string '1' into a number, which mmdet does not
        boxes = np.array([ann['bbox'] for ann in annotations] or np.zeros((0, 4)))
        areas = np.array([ann['area'] for ann in annotations] or np.zeros(0))
        fine = boxes.ndim == 2 and boxes.shape[1] == 4
        fine = fine and all(a.dtype.kind in 'iuf' and np.isfinite(a).all() for a in (boxes, areas))
        fine = fine and bool((boxes[:, 2:] >= 0).all())
    except (KeyError, TypeError, ValueError):
        fine = False
    if fine:
        return boxes.astype(np.float64)
    for number, ann in enumerate(annotations):
        where = f'{path}, annotation {number} (id {ann["id"]}, image_id {ann["image_id"]})'
        box, area = ann.get('bbox'), ann.get('area')
        if not (isinstance(box, (list, tuple)) and len(box) == 4 and all(map(_finite, box))):
            raise ValueError(
                f'{where}: bbox must be four finite numbers (x, y, width, height), not {box!r}.'
            )
        if min(box[2:]) < 0:
            raise ValueError(
                f'{where}: bbox {box} has a negative side; boxes are (x, y, width, height).'
            )
        if not _finite(area):
            raise ValueError(
                f"{where}: 'area' must be a finite number (mmdet and COCO's metrics read it), not "
                f'{area!r}; without masks it is width * height.'
            )
    raise AssertionError('unreachable: the fast check refused what the slow one accepts')


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def check_classes(in_file: Sequence[str], wanted: Sequence[str], path: str, hint: str) -> None:
    """Refuse classes that would get other labels than the dataset says.

    mmdet numbers labels by the category order of the *file* and drops classes that the file lacks
    without a word; a different order or a missing class would shift every label.

    Args:
        in_file: Category names in the order of the file.
        wanted: Classes of the dataset's metainfo.
        path: Of the file, for messages.
        hint: What to do about missing classes.

    Raises:
        ValueError: Classes are missing or in another order.
    """
    wanted = list(wanted)
    missing = [name for name in wanted if name not in set(in_file)]
    if missing:
        raise ValueError(
            f'{path} has no categories {missing[:5]} ({len(missing)} of {len(wanted)} classes '
            f'missing). {hint}'
        )
    found = [name for name in in_file if name in set(wanted)]
    if found != wanted:
        pairs = enumerate(zip_longest(found, wanted))
        place, theirs, ours = next((i, a, b) for i, (a, b) in pairs if a != b)
        raise ValueError(
            f'{path} lists its categories in another order than the dataset: at place {place} it '
            f'has {theirs!r} instead of {ours!r}. Give the classes in the order of the file.'
        )


def check_split(metainfo: Mapping[str, Any], what: str, may_be_empty: bool = False) -> None:
    """Refuse metainfo without the base/novel split that a metric reports by.

    Args:
        metainfo: With ``classes``, ``base_classes`` and ``novel_classes``.
        what: For messages.
        may_be_empty: Accept a part without names, as long as the other has some.

    Raises:
        ValueError: A part is missing or empty, has unknown names, or the parts overlap.
    """
    classes = metainfo.get('classes') or ()
    parts = {key: metainfo.get(key) for key in ('base_classes', 'novel_classes')}
    for key, names in parts.items():
        if names is None or not (names or (may_be_empty and any(parts.values()))):
            raise ValueError(
                f'{what}: the metric reports base and novel classes apart, but the metainfo has no '
                f"{key}. Add base_classes and novel_classes to the dataset's metainfo, or use "
                'CocoMetric.'
            )
        unknown = [name for name in names if name not in set(classes)]
        if unknown:
            raise ValueError(
                f'{what}: {key} names {unknown[:5]} ({len(unknown)} of {len(names)}), which are no '
                'classes of the dataset.'
            )
    both = sorted(set(parts['base_classes']) & set(parts['novel_classes']))
    if both:
        raise ValueError(f'{what}: {both[:5]} are both base and novel classes.')
