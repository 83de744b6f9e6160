# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of tar shards in WebDataset's layout, as img2dataset writes them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping

from ..image_kinds import IMAGE_SUFFIXES, OTHER_IMAGE_SUFFIXES, is_beside
from .captions import NoCaptionKey, check_text_length, read_captions
from .shard_index import ShardIndex
from .tar_members import Member, TarMembers

_TEXT_SUFFIXES = ('.txt', '.json')
_WANTED = {*IMAGE_SUFFIXES, *OTHER_IMAGE_SUFFIXES, *_TEXT_SUFFIXES}

Places = dict[str, dict[str, Member]]


class _Incomplete(ValueError):
    """A part of a pair is not there."""


def index_tar(path: str, caption_key: str | None = None) -> ShardIndex:
    """Find the pairs of a shard: an image and a text whose names differ in the suffix alone.

    Headers and texts are read, images are not. The caption is the ``.txt`` file or else the key
    'caption' of the ``.json`` file. What is whole in a damaged archive is used.

    Of other members

    * those that macOS puts beside files (``._KEY.jpg``, ``__MACOSX/``) and pax headers that were
      unpacked as files are none;
    * links are what they lead to, if that is in the shard;
    * ``KEY.seg.png`` without a text of its own, or any other ``KEY.x.y`` that is no pair, belongs
      to ``KEY`` if that is there, as WebDataset's rule has it (a key ends at the first dot);
    * images of other kinds, sparse files, and names that are not UTF-8 make broken pairs.

    Args:
        path: An uncompressed tar file.
        caption_key: Take the caption from this key of the ``.json`` file instead.

    Returns:
        Its index, with what is broken.
    """
    places: Places = {}
    broken: list[tuple[str, str]] = []
    with open(path, 'rb') as file:
        members = TarMembers(file)
        everything = [member for member in members if not is_beside(member.name)]
        for member in everything:
            key, suffix = os.path.splitext(member.name)
            suffix = suffix.lower()
            if suffix in _WANTED:
                found = places.setdefault(key, {})
                first = found.setdefault(suffix, member)
                if first is not member:
                    which = 'first'
                    if first.problem and not member.problem:
                        found[suffix], which = member, 'last'
                    # not the key: the pair is used, and lists of broken keys exclude
                    broken.append((f'{key}{suffix} again', f'the {which} one is used'))
            elif member.doubtful:
                broken.append((member.name, f'a member that {member.problem}'))
        if any(member.link for member in everything):
            _follow_links(places, everything)
        rows = []
        for key, found in places.items():
            try:
                rows.append(_row(file.fileno(), key, found, caption_key))
            except (_Incomplete, NoCaptionKey) as error:
                if not _belongs_to_another(key, places):
                    broken.append((key, str(error)))
            except ValueError as error:
                broken.append((key, str(error)))
    return ShardIndex.from_rows(rows, broken, members.damage)


def _belongs_to_another(key: str, places: Mapping[str, object]) -> bool:
    """Whether a shorter key, which ends at a dot of the file's name, is there."""
    dot = key.find('.', key.rfind('/') + 2)
    while dot >= 0:
        if key[:dot] in places:
            return True
        dot = key.find('.', dot + 1)
    return False


def _follow_links(places: Places, members: Iterable[Member]) -> None:
    """Put what links lead to in their places, or say why that cannot be."""
    by_name: dict[str, Member] = {}
    for member in members:
        by_name.setdefault(posixpath.normpath(member.name), member)
    for found in places.values():
        found.update({suffix: _target(member, by_name) for suffix, member in found.items()})


def _target(member: Member, by_name: Mapping[str, Member]) -> Member:
    target, seen = member, set()
    while target.link and not target.problem:
        folder = posixpath.dirname(target.name) if target.symbolic else ''
        name = posixpath.normpath(posixpath.join(folder, target.link))
        seen.add(target.name)
        if name not in by_name:
            return member._replace(problem=f'is a link to {name}, which is not in this shard')
        target = by_name[name]
        if target.name in seen:
            return member._replace(problem='is a link that leads to itself')
    return target


def _row(
    handle: int, key: str, found: Mapping[str, Member], caption_key: str | None
) -> tuple[str, tuple[int, int], tuple[int, int], bool]:
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if suffix in found), None)
    if suffix is None:
        other = next((suffix for suffix in OTHER_IMAGE_SUFFIXES if suffix in found), None)
        if other is not None:
            raise _Incomplete(
                f'image of a kind that is not read ({other}): convert it to one of '
                f'{", ".join(IMAGE_SUFFIXES)}'
            )
        raise _Incomplete('text without an image')
    texts = _TEXT_SUFFIXES if caption_key is None else _TEXT_SUFFIXES[1:]
    kind = next((text for text in texts if text in found), None)
    if kind is None:
        raise _Incomplete(f'image without {" or ".join(texts)}')
    image, text = found[suffix], found[kind]
    for ending, member in ((suffix, image), (kind, text)):
        if member.problem:
            raise ValueError(f'its {ending} {member.problem}')
    check_text_length(text.length)
    content = os.pread(handle, text.length, text.offset)
    read_captions(content, kind == '.json', caption_key or 'caption')
    return (
        key + suffix,
        (image.offset, image.length),
        (text.offset, text.length),
        kind == '.json',
    )
