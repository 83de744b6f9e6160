# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images on their way from files to the network, decoded and resized by worker processes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from ..apis.image_inputs import ImageInputs
from .given_boxes import CocoBoxes, GivenBoxes, GridBoxes
from .images import ImageList


class Loaded(NamedTuple):
    """Of one image: the packed sample and its given boxes, or what is wrong.

    Attributes:
        sample: Of ``ImageInputs``.
        given: Boxes, where they are given.
        broken: Why the image cannot be read.
        refused: Why its boxes are none.
    """

    sample: dict[str, Any] | None = None
    given: GivenBoxes | None = None
    broken: str = ''
    refused: str = ''


class _Images(Dataset):
    """What becomes of some images of a list."""

    def __init__(
        self,
        images: ImageList,
        rows: Sequence[int],
        inputs: ImageInputs,
        boxes: CocoBoxes | GridBoxes | None,
    ) -> None:
        self.images, self.rows, self.inputs, self.boxes = images, rows, inputs, boxes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Loaded:
        row = self.rows[place]
        path = self.images.full_path(row)
        try:
            image = self.inputs.load(path)
        except OSError as error:  # BrokenImageError
            return Loaded(broken=_one_line(str(error)))
        given = None
        if self.boxes is not None:
            try:
                given = self.boxes.of(row, tuple(image['ori_shape'][:2]))
            except ValueError as error:  # a worker's own error would come with its whole traceback
                return Loaded(refused=str(error))
        try:
            return Loaded(self.inputs.prepare(image), given)
        except OSError as error:  # BrokenImageError; other images go on
            return Loaded(broken=_one_line(str(error)))


def load_images(
    images: ImageList,
    rows: Sequence[int],
    inputs: ImageInputs,
    boxes: CocoBoxes | GridBoxes | None = None,
    num_workers: int = 0,
) -> Iterator[Loaded]:
    """Load images one after the other.

    Args:
        images: The list.
        rows: Places in it, in the order in which they are wanted.
        inputs: The test pipeline.
        boxes: Boxes of every image, if they are given.
        num_workers: Processes that load; 0: this one.
    """
    if not rows:
        return iter(())
    data = _Images(images, rows, inputs, boxes)
    return iter(DataLoader(data, None, num_workers=num_workers, collate_fn=_unchanged))


def _one_line(why: str) -> str:
    """A reason as it is stored: without places in memory, which differ from run to run."""
    return ' '.join(re.sub(r'\s*<\S+ object at 0x[0-9a-f]+>', '', why).split())


def _unchanged(loaded: Loaded) -> Loaded:
    return loaded
