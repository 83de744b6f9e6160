# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions of several files, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike, fspath

from mmengine.fileio import exists, get_local_path

from ..datasets.image_text import ImageTextDataset

FORMATS = {
    '.json': 'COCO captions',
    '.jsonl': 'a JSON object a line, as ImageTextDataset reads it',
    '.txt': 'a caption a line',
}


class CaptionFiles:
    """Captions without outer white space, empty ones left out.

    Lines are read one by one; COCO-caption files are read whole.

    Args:
        paths: Files; the suffix tells the format (``FORMATS``).
        backend_args: mmengine file backend.

    Attributes:
        num_empty: Empty captions left out by the last iteration.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A suffix is unknown. While reading: a damaged line or file, by its place.
        TypeError: While reading: a caption is no string.
    """

    def __init__(self, paths: Sequence[str | PathLike], backend_args: dict | None = None) -> None:
        self.paths = [fspath(path) for path in paths]
        self.backend_args = backend_args
        self.num_empty = 0
        for path in self.paths:
            if not path.endswith(tuple(FORMATS)):
                formats = ', '.join(f'{suffix} ({what})' for suffix, what in FORMATS.items())
                raise ValueError(f'{path}: cannot tell the format; names end with {formats}.')
            if not exists(path, backend_args=backend_args):
                raise FileNotFoundError(f'no caption file {path}.')

    def __iter__(self) -> Iterator[str]:
        self.num_empty = 0
        for path in self.paths:
            yield from self._lines(path) if path.endswith('.txt') else self._annotations(path)

    def _annotations(self, path: str) -> Iterator[str]:
        dataset = ImageTextDataset(path, backend_args=self.backend_args, lazy_init=True)
        for item in dataset.read_items():
            yield from item['captions']
        self.num_empty += dataset.num_skipped_captions

    def _lines(self, path: str) -> Iterator[str]:
        with get_local_path(path, backend_args=self.backend_args) as local:
            with open(local, 'rb') as file:  # decoded line by line, so that errors can name theirs
                for number, line in enumerate(file, start=1):
                    try:
                        caption = line.decode('utf-8-sig').strip()
                    except UnicodeDecodeError as error:
                        raise ValueError(f'{path}, line {number}: not UTF-8: {error}') from None
                    if caption:
                        yield caption
                    else:
                        self.num_empty += 1
