# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Boxes that do not come from the model: of annotation files, of results, grids."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info

from ..datasets.annotation_file import read_annotation_file
from ..datasets.checks import check_coco
from ..datasets.transforms.made_proposals import GridProposals
from ..fileio import sha256_of
from .images import ImageList, file_name, whole_number

# Shorter sides are dropped, as in the official code after resizing.
SHORTEST_SIDE = 1e-5
_NUMBER = int | float


@dataclass
class GivenBoxes:
    """Boxes of one image, in its pixels.

    Attributes:
        boxes: float32 ``(N, 4)``, x1 y1 x2 y2.
        scores: float32 ``(N,)``, NaN where there are none.
        labels: int32 ``(N,)``, rows of the class names of the source; -1: none.
        ids: int64 ``(N,)``, ids of annotations, or places among the results; -1: none.
        dropped: number of boxes that were left out because they have no area within the image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    dropped: int = 0

    def within(self, height: int, width: int) -> GivenBoxes:
        """Those that have an area within the image, cut at its borders."""
        boxes = np.clip(self.boxes, 0, np.array([width, height] * 2, dtype=np.float32))
        keep = ((boxes[:, 2:] - boxes[:, :2]) > SHORTEST_SIDE).all(axis=1)
        kept = replace(self, boxes=boxes).select(keep)
        return replace(kept, dropped=self.dropped + int((~keep).sum()))

    def select(self, keep: np.ndarray) -> GivenBoxes:
        """Some of the boxes, by a mask or by rows."""
        return GivenBoxes(
            self.boxes[keep], self.scores[keep], self.labels[keep], self.ids[keep], self.dropped
        )


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    numbers = all(isinstance(value, _NUMBER) and math.isfinite(value) for value in box)
    return numbers and min(box[2:]) >= 0


def without_source(boxes: np.ndarray) -> GivenBoxes:
    """Boxes ``(N, 4)`` of which nothing else is known."""
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    number = len(boxes)
    return GivenBoxes(
        boxes,
        np.full(number, np.nan, dtype=np.float32),
        np.full(number, -1, dtype=np.int32),
        np.full(number, -1, dtype=np.int64),
    )


@dataclass(frozen=True)
class GridBoxes:
    """The same windows of every image: the whole one, its quarters, and so on.

    Attributes:
        grids: numbers of cells along either side, see ``GridProposals``.
    """

    grids: tuple[int, ...] = (1, 2, 4)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses grids that are none before anything is computed."""
        GridProposals(self.grids)

    def of(self, number: int, size: tuple[int, int]) -> GivenBoxes:
        """Boxes of an image of height and width ``size``."""
        return without_source(GridProposals(self.grids).boxes(*size)).within(*size)

    def describe(self) -> dict[str, Any]:
        """What the boxes depend on, JSON."""
        return dict(grids=list(self.grids))


class CocoBoxes:
    """Boxes of an annotation file or a file of results in COCO's format.

    Crowd boxes, and those with ``"ignore": 1``, are left out; others in the order of the file.
    Boxes of other images are left out, too, with a warning that counts them.

    Attributes:
        names: names of the categories.
        notes: sentences for a report on what is left out or missing, with numbers.

    Args:
        path: Annotations (an object with ``images`` and ``annotations``) or results (a list of
            objects with ``image_id``, ``bbox``, ``category_id`` and ``score``).
        images: Images. Results are found by image id, so images must come from an annotation
            file; annotations are found by id as well, or else by file name.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is neither, or knows none of the images.
    """

    def __init__(self, path: str, images: ImageList) -> None:
        content = read_annotation_file(path)
        self.path, self.images = path, images
        by_id = images.source.lower().endswith('.json')
        self._sha256 = sha256_of(path)
        if isinstance(content, list):
            if not by_id:
                raise ValueError(
                    f'{path} holds results, which know images by their ids alone. Give the '
                    'annotation file of these images as IMAGES.'
                )
            rows = [self._result(row, place) for place, row in enumerate(content)]
            self._told_by, listing = images.source, read_annotation_file(images.source)
            # other boxes of these images are not wanted
            listing = {'categories': [], **listing, 'annotations': []}
            check_coco(listing, images.source)
        else:
            check_coco(content, path, areas=False)
            rows = [
                row
                for row in content['annotations']
                if not row.get('iscrowd') and not row.get('ignore')
            ]
            self._told_by, listing = path, content
        categories = listing['categories']
        self.names = tuple(category['name'] for category in categories)
        labels = {category['id']: row for row, category in enumerate(categories)}
        key = 'id' if by_id else 'path'
        numbers = {getattr(entry, key): number for number, entry in enumerate(images.entries)}
        places: dict[Any, int] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        renamed: list[tuple[str, str]] = []
        for image in listing['images']:
            number = numbers.get(image['id'] if key == 'id' else image.get('file_name'))
            if number is not None:
                places[image['id']] = number
                self._sizes[number] = (image['height'], image['width'])
                name, there = images.entries[number].path, file_name(image)
                if Path(name).stem != Path(there).stem:
                    renamed.append((name, there))
        self._rows: dict[int, list[tuple]] = {}
        elsewhere: Counter = Counter()
        unnamed = 0
        for row in rows:
            if row['image_id'] not in places:
                elsewhere[row['image_id']] += 1
            else:
                label = labels.get(row.get('category_id'), -1)
                unnamed += label < 0 and row.get('category_id') is not None
                number = whole_number(row['id'], path, 'annotation')
                score = row.get('score', np.nan)
                if not isinstance(score, _NUMBER):
                    raise ValueError(f'{path}: the score of box {number} is {score!r}, no number.')
                found = (row['bbox'], score, label, number)
                self._rows.setdefault(places[row['image_id']], []).append(found)
        if rows and not self._rows:
            raise ValueError(
                f'{path} has {len(rows)} boxes, but none of them lies in an image of '
                f'{images.source}. Are these ids and file names of the same images?'
            )
        unlisted = len(images) - len(self._sizes)
        self.notes = self._notes(len(rows), elsewhere, renamed, unnamed, unlisted)
        if (elsewhere or renamed) and get_dist_info()[0] == 0:
            warnings.warn('; '.join(self.notes), stacklevel=2)

    def _notes(
        self,
        boxes: int,
        elsewhere: Counter,
        renamed: list[tuple[str, str]],
        unnamed: int,
        unlisted: int,
    ) -> list[str]:
        """What the file has that is not used, or should have; sentences."""
        notes = []
        if renamed:
            notes.append(
                f'{len(renamed)} images have the same ids, but other names in {self._told_by} (the '
                f'first: {renamed[0][0]}, there {renamed[0][1]}): are these the same images?'
            )
        if elsewhere:
            shown = ', '.join(repr(image) for image in list(elsewhere)[:3])
            notes.append(
                f'{elsewhere.total()} of {boxes} boxes of {self.path} are left out: they lie in '
                f'{len(elsewhere)} images that are not in {self.images.source} (ids {shown}'
                f'{", ..." if len(elsewhere) > 3 else ""})'
            )
        if unlisted:
            notes.append(
                f'{unlisted} of {len(self.images)} images are not in {self._told_by}: no boxes'
            )
        if unnamed:
            notes.append(
                f'{unnamed} boxes of {self.path} have a category_id that {self._told_by} does not '
                'have: no label'
            )
        return notes

    def _result(self, row: Any, place: int) -> dict[str, Any]:
        where = f'{self.path}, result {place}'
        if not isinstance(row, Mapping) or not {'image_id', 'bbox'} <= row.keys():
            raise ValueError(f"{where}: needs an object with 'image_id' and 'bbox'.")
        if not _is_box(row['bbox']):
            raise ValueError(
                f'{where}: bbox must be four finite numbers, x y width height: {row["bbox"]}'
            )
        for key in ('image_id', 'category_id'):
            if isinstance(row.get(key), list | dict):  # 7.0 and null are legal
                raise ValueError(f'{where}: {key} cannot be {row[key]!r}.')
        return {**row, 'id': place}

    def of(self, number: int, size: tuple[int, int]) -> GivenBoxes:
        """Boxes of an image.

        Args:
            number: place of the image in its list.
            size: height and width of the image.

        Raises:
            ValueError: The annotation file tells another size: the boxes would lie elsewhere.
        """
        told = self._sizes.get(number, size)
        if tuple(told) != tuple(size):
            raise ValueError(
                f'{self.images.entries[number].path}: the image has {size[1]} x {size[0]} pixels '
                f'(width x height), but {self._told_by} says {told[1]} x {told[0]}: boxes would be '
                'misplaced. Correct the file, or the image.'
            )
        rows = self._rows.get(number, [])
        boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return GivenBoxes(
            boxes.astype(np.float32),
            np.array([row[1] for row in rows], dtype=np.float32),
            np.array([row[2] for row in rows], dtype=np.int32),
            np.array([row[3] for row in rows], dtype=np.int64),
        ).within(*size)

    def describe(self) -> dict[str, Any]:
        """What the boxes depend on, JSON."""
        return dict(sha256=self._sha256)

    @property
    def have_scores(self) -> bool:
        """Whether every box has a score."""
        return not any(np.isnan(row[1]) for rows in self._rows.values() for row in rows)
