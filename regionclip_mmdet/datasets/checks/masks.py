# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of COCO-format masks, where they are wanted: what pycocotools can read, and nothing else.

pycocotools trusts its input: run lengths that do not fill the image read foreign memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .coco import MOST_PIXELS, is_pixels, shown


def check_masks(
    content: Mapping[str, Any],
    path: str,
    why: str,
    counts: Callable[[Mapping], bool] = lambda ann: True,
) -> None:
    """Refuse an annotation without a mask that can be read.

    Args:
        content: A COCO (or LVIS) file that ``check_coco`` has passed.
        path: Path of the file, for error messages.
        why: What the masks are wanted for, for messages.
        counts: Which annotations need one.

    Raises:
        ValueError: A mask is missing or malformed; names file and annotation.
    """
    sizes = {i['id']: (i.get('height'), i.get('width')) for i in content['images']}
    for number, ann in enumerate(content['annotations']):
        if not counts(ann):
            continue
        problem = mask_problem(ann.get('segmentation'), *sizes[ann['image_id']])
        if problem:
            raise ValueError(
                f'{path}, annotation {number} (id {ann["id"]}, image_id {ann["image_id"]}): '
                f'{problem}. {why} needs a mask of every annotation: polygons [[x, y, x, y, ...], '
                '...] or run lengths {size, counts}.'
            )


def mask_problem(mask: Any, height: Any, width: Any) -> str | None:
    """What is wrong with a ``segmentation``; None if it can be read.

    Args:
        mask: Polygons, or run lengths (a list, or COCO's compressed text).
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if mask is None or mask in ([], {}, ''):
        return 'it has no segmentation'
    for size in (height, width):
        if not is_pixels(size) or size != int(size) or size < 1:
            return f'its image has no height and width in whole pixels, but {shown(size)}'
    if isinstance(mask, list):
        return _polygon_problem(mask)
    if isinstance(mask, Mapping):
        return _run_problem(mask, int(height), int(width))
    return f'segmentation is of type {type(mask).__name__}'


def _polygon_problem(polygons: list) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not _are_places(polygon):
            return f'a polygon must be a list of finite numbers, not {shown(polygon)}'
        if len(polygon) % 2:
            return f'a polygon has {len(polygon)} numbers; x and y make pairs'
    if len(polygons[0]) < 6:  # pycocotools goes by the first
        return f'a polygon has {len(polygons[0])} numbers; three corners have six'
    return None


def _are_places(numbers: list) -> bool:
    try:
        if set(map(type, numbers)) <= {int, float} and math.isfinite(sum(numbers)):
            return not numbers or (min(numbers) >= -MOST_PIXELS and max(numbers) <= MOST_PIXELS)
    except (TypeError, OverflowError):
        pass
    return False


def _run_problem(mask: Mapping, height: int, width: int) -> str | None:
    size, counts = mask.get('size'), mask.get('counts')
    if not isinstance(size, list) or size != [height, width]:
        return f'its mask is of size {shown(size)}, the image of {[height, width]}'
    if isinstance(counts, str):
        runs = _runs(counts)
        if runs is None:
            return f'its counts {shown(counts)} are no run lengths'
    elif isinstance(counts, list):
        runs = counts
    else:
        return f'counts is of type {type(counts).__name__}'
    if not all(type(run) is int and run >= 0 for run in runs):
        return 'a run length is no whole number from 0 on'
    if sum(runs) != height * width:
        return f'its run lengths sum up to {shown(sum(runs))}, not to {height} * {width} pixels'
    return None


def _runs(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed text: 5 bits a letter, differences to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if shift > 60:
            return None
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
