# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: base boxes for training, evaluation files for 48, 17 and 65 names.

The protocol of OVR-CNN (Zareian et al., CVPR 2021) and of most work since: an image without a
single annotation of the wanted names is left out, in training and in evaluation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import fileio
from ..categories import OV_COCO_BASE, OV_COCO_NOVEL
from .files import read_annotations
from .subsets import Counts, check_counts, keep_categories

_PARTS = ('base', 'novel')
Prepared = tuple[dict[Path, Any], list[str]]

# 118287 and 5000: COCO 2017 itself. 4836: a public log of the official evaluation.
KNOWN = {
    'train': Counts(dict(images=118287, categories=80)),
    'val': Counts(dict(images=5000, categories=80)),
    'train_base': Counts(dict(categories=48)),
    'val_base': Counts(dict(categories=48)),
    'val_novel': Counts(dict(categories=17)),
    'val_all': Counts(dict(images=4836, categories=65)),
    'val_all_images': Counts(dict(images=5000, categories=65)),
}


@dataclass(frozen=True)
class OVCocoSplit:
    """Which names are base and novel.

    Attributes:
        base: Names with boxes in training.
        novel: Names only of the evaluation.
    """

    base: tuple[str, ...] = OV_COCO_BASE
    novel: tuple[str, ...] = OV_COCO_NOVEL

    def __post_init__(self) -> None:
        """Check the split.

        Raises:
            ValueError: A part is empty, or a name is in both.
        """
        both = sorted(set(self.base) & set(self.novel))
        if both or not self.base or not self.novel:
            raise ValueError(
                f'a split needs base and novel names, none in both; base has {len(self.base)}, '
                f'novel {len(self.novel)}, both {both[:5]}.'
            )

    @classmethod
    def read(cls, path: str | Path) -> OVCocoSplit:
        """A split from a JSON file ``{"base": [...], "novel": [...]}``."""
        content = fileio.read_json(path, 'split')
        parts = [content.get(key) if isinstance(content, dict) else None for key in _PARTS]
        for part in parts:
            if not isinstance(part, list) or not all(isinstance(name, str) for name in part):
                raise ValueError(
                    f"{path}: needs an object with the lists 'base' and 'novel', of names."
                )
        try:
            return cls(*map(tuple, parts))
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


def _ids(content: dict[str, Any], names: Collection[str], path: str | Path) -> set[int]:
    ids = {category['name']: category['id'] for category in content['categories']}
    missing = [name for name in names if name not in ids]
    if missing:
        raise ValueError(
            f'{path} has no categories {missing[:5]} ({len(missing)} of {len(names)} missing).'
        )
    return {ids[name] for name in names}


def prepare_ov_coco_train(
    path: str | Path, folder: Path, split: OVCocoSplit, any_size: bool = False
) -> Prepared:
    """Training annotations of the base names.

    Args:
        path: ``instances_train2017.json``.
        folder: Where the file belongs.
        split: Base and novel names.
        any_size: Accept other data than the public one.

    Returns:
        File contents by path (nothing is written), and lines that report counts.

    Raises:
        ValueError: The file lacks names, or counts differ from the public ones.
    """
    content = read_annotations(path)
    lines = check_counts(content, KNOWN['train'], str(path), any_size)
    part = keep_categories(content, _ids(content, split.base, path))
    target = folder / 'ov_coco_train_base.json'
    lines += check_counts(part, KNOWN['train_base'], target.name, any_size)
    return {target: part}, lines


def prepare_ov_coco_val(
    path: str | Path, folder: Path, split: OVCocoSplit, any_size: bool = False
) -> Prepared:
    """Evaluation annotations: base, novel, all, and all with every image.

    Args:
        path: ``instances_val2017.json``.
        folder: Where the files belong.
        split: Base and novel names.
        any_size: Accept other data than the public one.

    Returns:
        As ``prepare_ov_coco_train``.

    Raises:
        ValueError: The file lacks names, or counts differ from the public ones.
    """
    content = read_annotations(path)
    lines = check_counts(content, KNOWN['val'], str(path), any_size)
    files: dict[Path, Any] = {}
    for name, names, keep_empty in (
        ('val_base', split.base, False),
        ('val_novel', split.novel, False),
        ('val_all', (*split.base, *split.novel), False),
        ('val_all_images', (*split.base, *split.novel), True),
    ):
        part = keep_categories(content, _ids(content, names, path), keep_empty)
        target = folder / f'ov_coco_{name}.json'
        lines += check_counts(part, KNOWN[name], target.name, any_size)
        files[target] = part
    return files, lines
