# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of tar shards in WebDataset's layout, as img2dataset writes them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from ..preparation.image_text import IMAGE_SUFFIXES
from .captions import read_captions
from .shard_index import ShardIndex

_TEXT_SUFFIXES = ('.txt', '.json')
_WANTED = (*IMAGE_SUFFIXES, *_TEXT_SUFFIXES)


class _Damaged(Exception):
    """The archive ends or breaks here."""


def index_tar(path: str, caption_key: str | None = None) -> ShardIndex:
    """Find the pairs of a shard: an image and a text whose names differ in the suffix alone.

    Headers and texts are read, images are not. The caption is the ``.txt`` file or else the key
    'caption' of the ``.json`` file. What is whole in a damaged archive is used.

    Args:
        path: An uncompressed tar file.
        caption_key: Take the caption from this key of the ``.json`` file instead.

    Returns:
        Its index, with what is broken.
    """
    places: dict[str, dict[str, tuple[int, int]]] = {}
    broken: list[tuple[str, str]] = []
    damage = ''
    with open(path, 'rb') as file:
        try:
            for name, offset, length in _members(file):
                key, suffix = os.path.splitext(name)
                suffix = suffix.lower()
                if suffix in _WANTED:
                    found = places.setdefault(key, {})
                    if suffix in found:
                        # not the key: the pair is used, and lists of broken keys exclude
                        broken.append((f'{key}{suffix} again', 'the first one is used'))
                    found.setdefault(suffix, (offset, length))
        except _Damaged as error:
            damage = str(error)
        rows = []
        for key, found in places.items():
            try:
                rows.append(_row(file, key, found, caption_key))
            except ValueError as error:
                broken.append((key, str(error)))
    return ShardIndex.from_rows(rows, broken, damage)


def _row(
    file: BinaryIO, key: str, found: dict[str, tuple[int, int]], caption_key: str | None
) -> tuple[str, tuple[int, int], tuple[int, int], bool]:
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if suffix in found), None)
    if suffix is None:
        raise ValueError('text without an image')
    texts = _TEXT_SUFFIXES if caption_key is None else _TEXT_SUFFIXES[1:]
    text = next((text for text in texts if text in found), None)
    if text is None:
        raise ValueError(f'image without {" or ".join(texts)}')
    file.seek(found[text][0])
    read_captions(file.read(found[text][1]), text == '.json', caption_key or 'caption')
    return key + suffix, found[suffix], found[text], text == '.json'


def _members(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Name, offset and length of every file in an archive.

    Raises:
        _Damaged: The archive is not whole.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        archive = tarfile.open(fileobj=file, mode='r:')
    except tarfile.TarError as error:
        raise _Damaged(f'no tar archive, or a compressed one ({error})') from None
    last = 'the first file'
    # Python 3.10 fails when an archive without files is asked for its next one
    empty = archive.firstmember is None
    while not empty:
        try:
            member = archive.next()
        except tarfile.TarError as error:
            raise _Damaged(f'breaks off after {last} ({error})') from None
        if member is None:
            break
        archive.members = []  # it would keep all of them
        if member.offset_data + member.size > size:
            raise _Damaged(f'truncated in {member.name}')
        last = member.name
        if member.isreg():
            yield member.name, member.offset_data, member.size
    # tarfile takes a damaged header for the end
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b'\0') or len(block) < tarfile.BLOCKSIZE:
        raise _Damaged(f'breaks off after {last}')
