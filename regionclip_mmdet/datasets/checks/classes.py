# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of a dataset's classes against its file, and of their base/novel split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any


def class_names(metainfo: Mapping[str, Any], what: str, key: str = 'classes') -> Sequence[str]:
    """The names of a dataset, which must be a list of texts.

    A single text would count as a list of its letters: ``classes=('mug')`` lacks a comma.

    Args:
        metainfo: Metainfo of the dataset.
        what: The dataset, for messages.
        key: 'classes', 'base_classes' or 'novel_classes'.

    Raises:
        ValueError: They are no list of texts.
    """
    names = metainfo.get(key)
    if isinstance(names, str):
        raise ValueError(
            f"{what}: metainfo's {key} is the text {names!r}, not a list of names; for one name "
            f'write {key}=[{names!r}].'
        )
    if names is None:
        return ()
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"{what}: metainfo's {key} has {wrong[0]!r}, which is no text.")
    return names


def check_classes(in_file: Sequence[str], wanted: Sequence[str], path: str, hint: str) -> None:
    """Refuse classes that would get other labels than the dataset says.

    mmdet numbers labels by the category order of the *file* and drops classes that the file lacks
    without a word; a different order or a missing class would shift every label.

    Args:
        in_file: Category names in the order of the file.
        wanted: Classes of the dataset's metainfo.
        path: Path of the file, for error messages.
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
        what: Name that error messages begin with.
        may_be_empty: Accept a part without names, as long as the other has some.

    Raises:
        ValueError: A part is missing or empty, has unknown names, or the parts overlap.
    """
    classes = class_names(metainfo, what)
    parts = {
        key: None if metainfo.get(key) is None else class_names(metainfo, what, key)
        for key in ('base_classes', 'novel_classes')
    }
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
