# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What files of proposals, and of a teacher's embeddings of them, say of themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...fileio import naming_damage, read_npz
from ...known_files import how_to_make
from .npz_places import ArrayPlace, array_places
from .proposal_format import TEACHER_SUFFIX, VERSION

_SHAPES = {
    'lengths': (1, '<i8'),
    'starts': (1, '<i8'),
    'boxes': (2, '<f4'),
    'objectness': (1, '<f4'),
    'checksums': (1, '<u4'),
}
_TEACHER_SHAPES = {'embeddings': (2, None), 'checksums': (1, '<u4')}


def read_meta(path: str, who: str) -> tuple[dict[str, ArrayPlace], dict[str, Any]]:
    """Places of the arrays of a file of proposals or embeddings, and what it says of itself.

    Args:
        path: The file; its name tells which of both it is.
        who: For messages.

    Raises:
        ValueError: The file is damaged, or of another version.
    """
    named = (path, f'{who}: file of proposals', f'{how_to_make(path)} --overwrite')
    teacher = path.endswith(TEACHER_SUFFIX)
    with naming_damage(*named):
        places = array_places(path)
    (text,) = read_npz(*named, names=('meta',)).values()
    with naming_damage(*named):
        meta = _checked(json.loads(str(text)), teacher)
        if meta['version'] != VERSION:
            raise ValueError(f'has version {meta["version"]}, this program reads {VERSION}')
        for name, (ndim, dtype) in (_TEACHER_SHAPES if teacher else _SHAPES).items():
            place = places.get(name)
            right = place is not None and len(place.shape) == ndim
            if not right or dtype not in (None, place.dtype.str):
                raise ValueError(f'no array {name!r} of the right kind')
    return places, meta


def _checked(meta: Any, teacher: bool) -> dict[str, Any]:
    """Refuse what these files do not say of themselves.

    Raises:
        ValueError, TypeError, KeyError: They do not.
    """
    kinds = dict(version=int, fingerprint=dict, boxes_sha256=str)
    kinds |= {} if teacher else dict(pairs_sha256=str, broken=list)
    for name, kind in kinds.items():
        if not isinstance(meta[name], kind):
            raise ValueError(f'{name} in meta is {meta[name]!r}')
    for row, key, reason in meta.get('broken', ()):
        if not (isinstance(row, int) and isinstance(key, str) and isinstance(reason, str)):
            raise ValueError(f'{row!r} among broken in meta')
    return meta


def rows_of_pairs(path: str) -> dict[tuple[str, int], int]:
    """Row of each pair of a file of proposals, by key and length of its image file.

    Raises:
        ValueError: The file is damaged.
    """
    content = read_npz(path, 'file of proposals', names=('keys', 'lengths'))
    pairs = zip(content['keys'].tolist(), content['lengths'].tolist(), strict=True)
    return {pair: row for row, pair in enumerate(pairs)}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two fingerprints."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def len_of(place: ArrayPlace) -> int:
    """Number of rows of an array."""
    return int(place.shape[0])
