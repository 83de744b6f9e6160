# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What an LVIS file has beyond a COCO file: names known to be absent, and frequencies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from ..datasets.checks import LVIS_LISTS, is_id_list, shown
from .annotated_images import AnnotatedImages
from .precision import FREQUENCIES

# LVIS: rare categories are in at most 10 training images, common ones in at most 100.
_RARE, _COMMON = 10, 100


def federated_lists(truth: AnnotatedImages) -> list[dict[str, list[int]]]:
    """Per image the numbers of categories known to be absent, and of those annotated in part.

    Raises:
        ValueError: An image has no such list; names file and image.
    """
    places = truth.category_numbers
    found = []
    for number, image in enumerate(truth.entries):
        row = {}
        for key in LVIS_LISTS:
            ids: Any = image.get(key)
            if not is_id_list(ids):
                what = f'no {key}' if ids is None else f'{key} {shown(ids)}'
                raise ValueError(
                    f'{truth.path}, image {number} (id {image["id"]}): {what}. LVIS counts a '
                    'detection as wrong only where the image has objects of its category, or '
                    'neg_category_ids, a list of category ids, names it; of categories in '
                    'not_exhaustive_category_ids no detection is wrong. If all images are '
                    'annotated with all categories, use OVCocoAPMetric, which needs neither.'
                )
            row[key] = [places[id] for id in ids if id in places]
        found.append(row)
    return found


def category_frequencies(categories: Sequence[dict[str, Any]], path: str) -> list[str] | None:
    """'r', 'c' or 'f' for each category; None if the file has no frequencies.

    Where ``frequency`` is missing it follows from ``image_count``, as LVIS defines it.

    Raises:
        ValueError: A frequency is another, or only some categories have one.
    """
    letters: list[Any] = []
    for category in categories:
        letter, count = category.get('frequency'), category.get('image_count')
        if letter is None and isinstance(count, int):
            letter = 'r' if count <= _RARE else 'c' if count <= _COMMON else 'f'
        letters.append(letter)
    if all(letter is None for letter in letters):
        print_log(
            f'{path} has neither frequency nor image_count of its categories: there will be no '
            'results of rare, common and frequent ones (APr, APc, APf).',
            logger='current',
            level=logging.WARNING,
        )
        return None
    for number, (category, letter) in enumerate(zip(categories, letters, strict=True)):
        if not isinstance(letter, str) or letter not in FREQUENCIES:
            raise ValueError(
                f'{path}, category {number} (id {category["id"]}): frequency must be '
                f"'r', 'c' or 'f', not {shown(letter)}."
            )
    return letters
