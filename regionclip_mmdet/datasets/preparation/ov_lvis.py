# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS: frequent and common names for training, all 1203 for evaluation, and minival."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import fileio
from ..categories import LVIS_V1
from .files import read_annotations
from .ov_coco import Prepared
from .subsets import Counts, check_counts, keep_categories, keep_images

KNOWN = {
    'train': Counts(dict(categories=1203)),
    'train_base': Counts(dict(categories=866)),
    'val': Counts(dict(categories=1203)),
    'val_annotated': Counts(dict(categories=1203)),
    'minival': Counts(dict(categories=1203)),
}


def _check_categories(content: dict[str, Any], path: str | Path, any_size: bool) -> None:
    """Refuse categories without frequency and, of public data, other ones than LVIS v1's."""
    wrong = [c['name'] for c in content['categories'] if c.get('frequency') not in ('r', 'c', 'f')]
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong)} categories have no frequency 'r', 'c' or 'f', e.g. "
            f'{wrong[0]!r}. LVIS files have one for each category.'
        )
    if any_size:
        return
    found = {(c['id'], c['name'], c['frequency']) for c in content['categories']}
    missing = sorted({(c.id, c.name, c.frequency) for c in LVIS_V1} - found)
    if missing:
        raise ValueError(
            f'{path}: {len(missing)} categories of LVIS v1 are missing or differ in id, name or '
            f'frequency, e.g. {missing[0]}. Use LVIS version 1, or --any-size for other data.'
        )


def prepare_ov_lvis_train(path: str | Path, folder: Path, any_size: bool = False) -> Prepared:
    """Training annotations of frequent and common names, and lists of names.

    As in the official data loading, images left without annotation are dropped.

    Args:
        path: ``lvis_v1_train.json``.
        folder: Where the files belong.
        any_size: Accept other data than the public one; it needs frequencies.

    Returns:
        File contents by path (nothing is written), and lines that report counts.

    Raises:
        ValueError: Categories or counts are not as they should be.
    """
    content = read_annotations(path)
    _check_categories(content, path, any_size)
    lines = check_counts(content, KNOWN['train'], str(path), any_size)
    base = [c for c in content['categories'] if c['frequency'] != 'r']
    rare = [c for c in content['categories'] if c['frequency'] == 'r']
    part = keep_categories(content, {c['id'] for c in base})
    target = folder / 'ov_lvis_train_base.json'
    lines += check_counts(part, KNOWN['train_base'], target.name, any_size)
    names = {
        folder / 'ov_lvis_base_names.txt': [c['name'] for c in base],
        folder / 'ov_lvis_novel_names.txt': [c['name'] for c in rare],
    }
    return {target: part, **names}, lines


def read_image_ids(path: str | Path) -> set[int]:
    """Image ids from a list.

    Args:
        path: JSON with a list of ids, or with ``images`` that have an ``id`` (for example
            ``lvis_v1_minival_inserted_image_name.json``); or text, one id a line.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No ids in it.
    """
    path = Path(path)
    if path.suffix == '.json':
        content = fileio.read_json(path, 'image list')
        rows = content['images'] if isinstance(content, dict) and 'images' in content else content
        if not isinstance(rows, list):
            raise ValueError(
                f'{path}: not a list of image ids, nor an object with one in "images".'
            )
        rows = [row['id'] if isinstance(row, dict) and 'id' in row else row for row in rows]
    else:
        fileio.require_file(path, 'image list')
        rows = path.read_bytes().split()
    try:
        ids = {_whole(row) for row in rows}
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f'{path}: not a list of image ids: {error}') from None
    if not ids:
        raise ValueError(f'{path}: has no image ids.')
    return ids


def _whole(row: Any) -> int:
    """An id, which may be written as text, or with a point."""
    number = int(row)
    if isinstance(row, bool) or (isinstance(row, float) and row != number):
        raise ValueError(f'{row!r} is no whole number')
    return number


def prepare_ov_lvis_val(
    path: str | Path, folder: Path, minival: str | Path | None = None, any_size: bool = False
) -> Prepared:
    """Evaluation annotations beside the public file, which is used as it is.

    Args:
        path: ``lvis_v1_val.json``.
        folder: Where the files belong.
        minival: A list of image ids, see ``read_image_ids``; None makes no minival.
        any_size: Accept other data than the public one; it needs frequencies.

    Returns:
        As ``prepare_ov_lvis_train``. ``ov_lvis_val_annotated.json`` lacks the images without any
        annotation: the official code does not run on them.

    Raises:
        ValueError: Categories or counts are not as they should be; unknown images in the list.
    """
    content = read_annotations(path)
    _check_categories(content, path, any_size)
    lines = check_counts(content, KNOWN['val'], str(path), any_size)
    used = {ann['image_id'] for ann in content['annotations']}
    target = folder / 'ov_lvis_val_annotated.json'
    files: dict[Path, Any] = {target: keep_images(content, used)}
    lines += check_counts(files[target], KNOWN['val_annotated'], target.name, any_size)
    if minival is not None:
        target = folder / 'ov_lvis_minival.json'
        files[target] = keep_images(content, read_image_ids(minival))
        lines += check_counts(files[target], KNOWN['minival'], target.name, any_size)
    return files, lines
