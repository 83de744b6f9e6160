# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of pairs of TSV files, the layout that the official pretraining code reads."""

from __future__ import annotations

import binascii
import os
import os.path as osp
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .captions import read_captions
from .shard_index import ShardIndex

_ROOM_FOR_KEY = 512
_BOM = b'\xef\xbb\xbf'


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


def decode_base64(content: bytes) -> bytes:
    """Bytes that base64 stands for; Python's own decoder passes over what is none.

    Raises:
        ValueError: It is cut off, or has characters that do not belong there.
    """
    content = content.strip()
    filled = len(content) - len(content.rstrip(b'='))
    decoded = binascii.a2b_base64(content)
    if len(content) % 4 or len(decoded) != len(content) // 4 * 3 - filled:
        raise ValueError('cut off, or with characters that do not belong there')
    return decoded


def index_tsv(images: str, texts: str, caption_key: str = 'captions') -> ShardIndex:
    """Find the pairs of two files with the same keys in the same order.

    A row of the first is ``key<TAB>base64 of an image file``, one of the second ``key<TAB>text``,
    where the text is a JSON object or, if it is none, the caption itself. Line offsets of the
    images are taken from the ``.lineidx`` file beside them, if it fits; otherwise the whole file
    is read once.

    Args:
        images: Path of the first.
        texts: Path of the second.
        caption_key: Key of the captions in the JSON object.

    Returns:
        Its index; an image's place is that of its base64 text. A few rows with differing keys are
        broken pairs.

    Raises:
        ValueError: Numbers of rows, or most keys, differ, so nothing tells what belongs together.
    """
    with open(images, 'rb') as image_file, open(texts, 'rb') as text_file:
        size = os.fstat(image_file.fileno()).st_size
        places = _kept_offsets(images, image_file, size)
        if places is not None:
            try:
                return _index(image_file, text_file, _with_ends(places, size), caption_key)
            except ValueError:
                pass  # the offsets may be those of another file
        image_file.seek(0)
        places = np.array([offset for offset, _ in _lines(image_file)], dtype=np.int64)
        return _index(image_file, text_file, _with_ends(places, size), caption_key)


def _index(
    image_file: BinaryIO, text_file: BinaryIO, places: np.ndarray, caption_key: str
) -> ShardIndex:
    images, texts = image_file.name, text_file.name
    rows: list[tuple[str, tuple[int, int], tuple[int, int], bool]] = []
    broken: list[tuple[str, str]] = []
    differing: list[str] = []
    text_file.seek(0)
    lines = _lines(text_file)
    number = -1
    for number, (offset, line) in enumerate(lines):  # noqa: B007
        if number >= len(places):
            break
        start, end = places[number].tolist()
        image_file.seek(start)
        key, tab, image = image_file.read(min(_ROOM_FOR_KEY, end - start)).partition(b'\t')
        other, _, text = line.partition(b'\t')
        name = _name(key, number)
        try:
            if _name(key, number) != _name(other, number):
                differing.append(f'row {number}: the keys {_shown(key)} and {_shown(other)} differ')
                name = _name(other if not tab else key, number)[:_ROOM_FOR_KEY]
                raise ValueError(differing[-1])
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
    if 2 * len(differing) > len(places):
        raise ValueError(
            f'{images} and {texts}, {differing[0]}, and so do {len(differing)} of {len(places)}. '
            'The files must have the same pairs in one order.'
        )
    return ShardIndex.from_rows(rows, broken)


def _name(key: bytes, row: int) -> str:
    """A key as text; the first one of a file may follow a byte order mark."""
    key = key if row else key.removeprefix(_BOM)
    return key.strip().decode(errors='backslashreplace')


def _shown(key: bytes) -> str:
    return repr(key[:60].decode(errors='backslashreplace'))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offset and content of each line, without its end."""
    offset = 0
    for line in file:
        yield offset, line.rstrip(b'\r\n')
        offset += len(line)


def _with_ends(starts: np.ndarray, size: int) -> np.ndarray:
    """Offset and end of each line, int64 ``(N, 2)``, line ends included."""
    return np.stack([starts, np.append(starts[1:], size)[: len(starts)]], axis=1)


def _kept_offsets(path: str, file: BinaryIO, size: int) -> np.ndarray | None:
    """Offsets of the ``.lineidx`` file, unless it is missing, older, or of another file."""
    lineidx = osp.splitext(path)[0] + '.lineidx'
    try:
        if os.stat(lineidx).st_mtime_ns < os.stat(path).st_mtime_ns:
            return None
        with open(lineidx, encoding='ascii') as lines:
            starts = np.array([int(line) for line in lines], dtype=np.int64)
    except (OSError, ValueError, OverflowError):
        return None
    if not len(starts) or starts[0] != 0 or starts[-1] >= size or (np.diff(starts) <= 0).any():
        return None
    for start in starts[1:].tolist():
        file.seek(start - 1)
        if file.read(1) != b'\n':
            return None
    file.seek(int(starts[-1]))
    return None if file.readline() and file.read(1) else starts
