# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of pairs of TSV files, the layout that the official pretraining code reads."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .captions import read_captions
from .shard_index import ShardIndex

_ROOM_FOR_KEY = 512


def text_file_of(images: str) -> str:
    """The text file that belongs to an image file, by the official rule.

    In the file's name ``images`` or ``image`` becomes ``text``, or ``img`` becomes ``caption``.

    Raises:
        ValueError: The name has none of them.
    """
    folder, name = osp.split(images)
    for part, text in (('images', 'text'), ('image', 'text'), ('img', 'caption')):
        if part in name:
            return osp.join(folder, name.replace(part, text))
    raise ValueError(
        f'{images}: which text file belongs to it? Its name must contain "images", "image" or '
        '"img", or the dataset needs text_files.'
    )


def index_tsv(images: str, texts: str, caption_key: str = 'captions') -> ShardIndex:
    """Find the pairs of two files with the same keys in the same order.

    A row of the first is ``key<TAB>base64 of an image file``, one of the second ``key<TAB>text``,
    where the text is a JSON object or, if it is none, the caption itself. Line offsets of the
    images are taken from the ``.lineidx`` file beside them, if it fits; otherwise the whole file
    is read once.

    Args:
        images: Path of the first.
        texts: Path of the second.
        caption_key: Of the object.

    Returns:
        Its index; an image's place is that of its base64 text.

    Raises:
        ValueError: Numbers of rows or keys differ, so nothing tells what belongs together.
    """
    rows, broken = [], []
    with open(images, 'rb') as image_file, open(texts, 'rb') as text_file:
        places = _line_places(images, image_file)
        lines = _lines(text_file)
        number = -1
        for number, (offset, line) in enumerate(lines):  # noqa: B007
            if number >= len(places):
                break
            start, end = places[number].tolist()
            image_file.seek(start)
            key, _, image = image_file.read(min(_ROOM_FOR_KEY, end - start)).partition(b'\t')
            other, _, text = line.partition(b'\t')
            if key.strip() != other.strip():
                raise ValueError(
                    f'{images} and {texts}, row {number}: the keys {_shown(key)} and '
                    f'{_shown(other)} differ. The files must have the same pairs in one order.'
                )
            name = key.strip().decode(errors='replace')
            try:
                if not image.strip():
                    raise ValueError('no image')
                is_json = text.strip().startswith(b'{')
                read_captions(text, is_json, caption_key)
            except ValueError as error:
                broken.append((name, str(error)))
                continue
            first = start + len(key) + 1
            begin = offset + len(other) + 1
            rows.append((name, (first, end - first), (begin, len(text)), is_json))
        if number + 1 != len(places):
            count = number + 1 + sum(1 for _ in lines)
            raise ValueError(
                f'{images} has {len(places)} rows, {texts} has {count}. The files must have the '
                'same pairs in one order.'
            )
    return ShardIndex.from_rows(rows, broken)


def _shown(key: bytes) -> str:
    return repr(key[:60].decode(errors='replace'))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offset and content of each line, without its end."""
    offset = 0
    for line in file:
        yield offset, line.rstrip(b'\r\n')
        offset += len(line)


def _line_places(path: str, file: BinaryIO) -> np.ndarray:
    """Offset and end of each line, int64 ``(N, 2)``, line ends included."""
    size = os.fstat(file.fileno()).st_size
    starts = _kept_offsets(path, file, size)
    if starts is None:
        file.seek(0)
        starts = np.array([offset for offset, _ in _lines(file)], dtype=np.int64)
    return np.stack([starts, np.append(starts[1:], size)[: len(starts)]], axis=1)


def _kept_offsets(path: str, file: BinaryIO, size: int) -> np.ndarray | None:
    """Offsets of the ``.lineidx`` file, unless it is missing, older, or of another file."""
    lineidx = osp.splitext(path)[0] + '.lineidx'
    if not osp.isfile(lineidx) or os.stat(lineidx).st_mtime_ns < os.stat(path).st_mtime_ns:
        return None
    try:
        with open(lineidx, encoding='ascii') as lines:
            starts = np.array([int(line) for line in lines], dtype=np.int64)
    except ValueError:
        return None
    if not len(starts) or starts[0] != 0 or starts[-1] >= size or (np.diff(starts) <= 0).any():
        return None
    for start in starts[1:].tolist():
        file.seek(start - 1)
        if file.read(1) != b'\n':
            return None
    file.seek(int(starts[-1]))
    return None if file.readline() and file.read(1) else starts
