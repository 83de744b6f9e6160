# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of the proposals of all images of a shard, and of a teacher's embeddings of them."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...fileio import naming_damage, read_npz, write_whole
from ...known_files import how_to_make
from .pieces import ArrayPlace, array_places
from .shard_index import ShardIndex

PROPOSALS_SUFFIX = '.proposals.npz'
TEACHER_SUFFIX = '.teacher.npz'
# Raise it whenever the meaning of a file changes.
VERSION = 2


def shard_name(shard: str) -> str:
    """Name of a shard's files: its own without folder and suffix."""
    return osp.splitext(osp.basename(shard))[0]


def proposals_path(folder: str, shard: str) -> str:
    """Where the proposals of a shard lie."""
    return osp.join(folder, shard_name(shard) + PROPOSALS_SUFFIX)


def teacher_path(folder: str, shard: str) -> str:
    """Where the teacher's embeddings of these proposals lie."""
    return osp.join(folder, shard_name(shard) + TEACHER_SUFFIX)


def keys_of(index: ShardIndex) -> list[str]:
    """Keys of a shard's pairs: the names of their images without suffix."""
    return [index.key(row) for row in range(len(index))]


def lengths_of(index: ShardIndex) -> np.ndarray:
    """Lengths of a shard's image files in bytes, int64 ``(n,)``: other images give them away."""
    return np.ascontiguousarray(index.images[:, 1], dtype='<i8')


def pairs_hash(index: ShardIndex) -> str:
    """Of names and lengths of all images in their order; spares comparing them one by one."""
    digest = hashlib.sha256(b'\n'.join(index.names.tolist()))
    digest.update(lengths_of(index).tobytes())
    return digest.hexdigest()


def check_names(shards: Sequence[str], who: str) -> None:
    """Refuse shards whose files would have the same name.

    Raises:
        ValueError: Two shards of different folders are called alike.
    """
    seen: dict[str, str] = {}
    for shard in shards:
        other = seen.setdefault(shard_name(shard), shard)
        if other != shard:
            raise ValueError(
                f'{who}: {other} and {shard} would have the same file of proposals, '
                f'{shard_name(shard)}{PROPOSALS_SUFFIX}. Make a dataset of each folder, with a '
                'folder of proposals of its own.'
            )


def write_proposals(
    path: str | os.PathLike,
    index: ShardIndex,
    boxes: Sequence[np.ndarray],
    objectness: Sequence[np.ndarray],
    fingerprint: Mapping[str, Any],
    broken: Mapping[int, str],
) -> None:
    """Write the proposals of a shard, whole or not at all.

    The file is an uncompressed ``.npz`` of

    * ``keys`` ``(n,)``: of all pairs, str, in the order of the shard;
    * ``lengths`` int64 ``(n,)``: of their image files in bytes;
    * ``starts`` int64 ``(n + 1,)``: the proposals of pair ``i`` are the rows ``starts[i]`` to
      ``starts[i + 1]`` of the next two;
    * ``boxes`` float32 ``(N, 4)``: x1, y1, x2, y2, divided by width and height of the network
      input (after resizing, before padding), so that they fit any size of the image;
    * ``objectness`` float32 ``(N,)``: raw logits, in descending order within an image;
    * ``checksums`` uint32 ``(n,)``: of each pair's proposals, see ``checksum``;
    * ``meta``: a JSON object with ``version``, ``fingerprint``, hashes of the pairs and boxes, and
      ``broken``, row, key and reason of each image that could not be read.

    Args:
        path: Path of the file.
        index: Index of the shard.
        boxes: ``(N_i, 4)`` of each pair.
        objectness: ``(N_i,)`` of each pair.
        fingerprint: What the proposals depend on, JSON.
        broken: Reason by row of each pair without proposals because its image is damaged.
    """
    keys = keys_of(index)
    starts = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
    all_boxes = _join(boxes, (0, 4))
    meta = dict(
        version=VERSION,
        fingerprint=dict(fingerprint),
        pairs_sha256=pairs_hash(index),
        boxes_sha256=hashlib.sha256(all_boxes.tobytes()).hexdigest(),
        broken=[[row, keys[row], reason] for row, reason in sorted(broken.items())],
    )
    save_whole(
        path,
        keys=np.array(keys, dtype=str),
        lengths=lengths_of(index),
        starts=starts,
        boxes=all_boxes,
        objectness=_join(objectness, (0,)),
        checksums=_checksums(
            (np.asarray(part, '<f4'), np.asarray(logits, '<f4'))
            for part, logits in zip(boxes, objectness, strict=True)
        ),
        meta=np.array(json.dumps(meta)),
    )


def write_teacher(
    path: str | os.PathLike,
    embeddings: Sequence[np.ndarray],
    width: int,
    boxes_sha256: str,
    fingerprint: Mapping[str, Any],
) -> None:
    """Write a teacher's embeddings of the proposals of a shard, whole or not at all.

    The file is an uncompressed ``.npz`` of ``embeddings`` ``(N, D)``, float16 or float32, of the
    ``N`` boxes of the file of proposals beside it, ``checksums`` uint32 ``(n,)`` of each pair's,
    and ``meta``, a JSON object with ``version``, ``fingerprint`` and the hash of those boxes.

    Args:
        path: Path of the file.
        embeddings: ``(N_i, D)`` of each pair, of the type to be written.
        width: ``D``.
        boxes_sha256: Hash of the boxes, from ``meta`` of the file of proposals.
        fingerprint: What the embeddings depend on besides the boxes, JSON.
    """
    meta = dict(version=VERSION, fingerprint=dict(fingerprint), boxes_sha256=boxes_sha256)
    dtype = next((part.dtype for part in embeddings), np.dtype(np.float32))
    save_whole(
        path,
        embeddings=_join(embeddings, (0, width), dtype),
        checksums=_checksums((np.asarray(part, dtype),) for part in embeddings),
        meta=np.array(json.dumps(meta)),
    )


def checksum(*arrays: np.ndarray) -> int:
    """CRC-32 of what belongs to one pair: it is read without the rest of the file."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def save_whole(path: str | os.PathLike, **arrays: np.ndarray) -> None:
    """``numpy.savez``, whole or not at all; the bytes depend on the arrays alone."""
    with write_whole(path) as unfinished, open(unfinished, 'wb') as file:
        np.savez(file, **arrays)


def _checksums(parts: Iterable[tuple[np.ndarray, ...]]) -> np.ndarray:
    return np.array([checksum(*part) for part in parts], dtype='<u4')


def _join(
    parts: Iterable[np.ndarray], empty: tuple[int, ...], dtype: np.dtype | type = np.float32
) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *parts]).astype(dtype, copy=False)


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
        who: Name that error messages begin with.

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
