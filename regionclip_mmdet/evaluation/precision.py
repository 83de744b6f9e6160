# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Means over the precision tables of pycocotools and lvis, and groups of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# places in the tables' axes of IoU (0.5, 0.55, ..., 0.95) and area
IOU_50, IOU_75 = 0, 5
AREAS = ('all', 'small', 'medium', 'large')
FREQUENCIES = {'r': 'rare', 'c': 'common', 'f': 'frequent'}


def mean_of_valid(precision: np.ndarray) -> float:
    """Mean of the entries that are not -1 (a class without objects); -1 if there are none."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0


def standard_items(table: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The six numbers of COCO and LVIS over all classes.

    Args:
        table: Precision ``(IoU, recall, class, area)``.
        names: Names for: mean over IoU; IoU 0.5; IoU 0.75; small, medium, large objects.
    """
    whole = table[..., 0]
    values = [
        mean_of_valid(whole),
        mean_of_valid(whole[IOU_50]),
        mean_of_valid(whole[IOU_75]),
        *(mean_of_valid(table[..., area]) for area in range(1, len(AREAS))),
    ]
    return dict(zip(names, values, strict=True))


def class_groups(meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Groups of labels that results are split by.

    Args:
        meta: Metainfo of a dataset: ``classes``, and where known ``base_classes`` and
            ``novel_classes`` (lists of names) and ``frequencies`` ('r', 'c' or 'f' for each class).

    Returns:
        'base' and 'novel', 'rare', 'common' and 'frequent', as far as known and not empty: labels.
    """
    classes = list(meta['classes'])
    groups = {}
    for name in ('base', 'novel'):
        members = set(meta.get(f'{name}_classes') or ())
        groups[name] = _places(label in members for label in classes)
    for letter, name in FREQUENCIES.items():
        groups[name] = _places(found == letter for found in meta.get('frequencies') or ())
    return {name: labels for name, labels in groups.items() if len(labels)}


def _places(flags: Iterable[bool]) -> np.ndarray:
    return np.flatnonzero(np.fromiter(flags, dtype=bool))
