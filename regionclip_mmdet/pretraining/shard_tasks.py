# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which shards lack their files of proposals, and which files are not to be touched."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..datasets.shards import (
    PairsInShards,
    ShardIndex,
    check_names,
    differences,
    keys_of,
    lengths_of,
    pairs_hash,
    proposals_path,
    read_meta,
    rows_of_pairs,
    teacher_path,
)


@dataclass
class ShardTask:
    """Work on one shard.

    Attributes:
        shard: Its number.
        boxes: Whether proposals are wanted; otherwise only the teacher's embeddings of those that
            are there.
    """

    shard: int
    boxes: bool


def missing_files(
    dataset: PairsInShards,
    folder: str,
    fingerprint: Mapping[str, Any],
    teacher_fingerprint: Mapping[str, Any] | None,
    overwrite: bool,
) -> Iterator[ShardTask]:
    """What is to be computed.

    Files that are damaged, or lack pairs that their shard now has, count as missing.

    Args:
        dataset: Whole.
        folder: Of the files.
        fingerprint: Of the proposals.
        teacher_fingerprint: Of the embeddings; None if they are not wanted.
        overwrite: Whether files made with other settings count as missing.

    Raises:
        ValueError: There are files made with other settings, or two shards of one name.
    """
    check_names(dataset.shards, folder)
    for shard, (path, index) in enumerate(zip(dataset.shards, dataset.indices, strict=True)):
        meta = _present(proposals_path(folder, path), fingerprint, overwrite)
        same = meta is not None and meta['pairs_sha256'] == pairs_hash(index)
        if meta is None:
            yield ShardTask(shard, boxes=True)
        elif not same and (
            teacher_fingerprint is not None  # embeddings are wanted of all pairs of a file
            or not _pairs(index) <= rows_of_pairs(proposals_path(folder, path)).keys()
        ):
            yield ShardTask(shard, boxes=True)
        elif teacher_fingerprint is not None:
            found = _present(teacher_path(folder, path), teacher_fingerprint, overwrite)
            if found is None or found['boxes_sha256'] != meta['boxes_sha256']:
                yield ShardTask(shard, boxes=False)


def _pairs(index: ShardIndex) -> set[tuple[str, int]]:
    return set(zip(keys_of(index), lengths_of(index).tolist(), strict=True))


def _present(path: str, fingerprint: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """What a file says of itself; None if it must be written."""
    if not osp.isfile(path):
        return None
    try:
        _, meta = read_meta(path, '')
    except ValueError:
        return None
    differing = differences(meta['fingerprint'], fingerprint)
    if not differing:
        return meta
    if overwrite:
        return None
    raise ValueError(
        f'{path} was made with other settings: {", ".join(differing)} differ. Take another folder '
        '(--out), or replace the files in this one (--overwrite).'
    )
