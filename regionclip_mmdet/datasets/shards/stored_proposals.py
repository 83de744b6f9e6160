# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading precomputed proposals of image-text pairs in shards."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from ...known_files import how_to_make
from ..transforms.load_image import BrokenImageError
from .pieces import ArrayPlace, PieceReader
from .proposal_format import (
    check_names,
    checksum,
    differences,
    keys_of,
    len_of,
    lengths_of,
    pairs_hash,
    proposals_path,
    read_meta,
    rows_of_pairs,
    teacher_path,
)
from .shard_index import ShardIndex


@dataclass
class _Shard:
    """What is known of the files of one shard; the proposals themselves stay on the disk.

    Attributes:
        path: The file of proposals.
        places: Places of its arrays.
        rows: Row of each pair of the dataset; None: the same rows.
        broken: Reason by row of the file.
        teacher: The file of embeddings and the places of its arrays.
    """

    path: str
    places: dict[str, ArrayPlace]
    rows: np.ndarray | None
    broken: dict[int, str]
    teacher: tuple[str, dict[str, ArrayPlace]] | None = None


class StoredProposals:
    """Proposals of all pairs of a dataset in shards, read one image at a time.

    ``tools/pretrain/precompute_proposals.py`` writes them; ``write_proposals`` describes the
    format. Only places are held in memory, so any number of shards may have any number of boxes;
    what is read of a pair is compared with its checksum.

    Args:
        folder: Local folder of the files.
        shards: Paths of the shards.
        indices: Their indices; a shard's file may hold more pairs.
        with_teacher: Read the teacher's embeddings, too.
        who: Name that error messages begin with.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: A shard has no file; says how to make it.
        ValueError: The folder is not local; a file is damaged, of another version, made otherwise
            than the others, or lacks pairs of its shard.
    """

    def __init__(
        self,
        folder: str,
        shards: Sequence[str],
        indices: Sequence[ShardIndex],
        with_teacher: bool = False,
        who: str = 'StoredProposals',
        progress: bool = False,
    ) -> None:
        self.folder = folder
        self.with_teacher = with_teacher
        self._reader = PieceReader()
        if '://' in folder:
            raise ValueError(
                f'{who}: proposals {folder} must be a folder on a disk of this machine or mounted '
                'there; give an absolute path.'
            )
        check_names(shards, who)
        self._require(shards, who)
        self.fingerprint: dict[str, Any] | None = None
        self.teacher_fingerprint: dict[str, Any] | None = None
        pairs = tqdm(
            list(zip(shards, indices, strict=True)), desc=folder, unit='files', disable=not progress
        )
        self._shards = [self._open(shard, index, who) for shard, index in pairs]

    def _require(self, shards: Sequence[str], who: str) -> None:
        kinds = [('proposals', proposals_path)]
        if self.with_teacher:
            kinds.append(("teacher's embeddings", teacher_path))
        for what, path_of in kinds:
            paths = [path_of(self.folder, shard) for shard in shards]
            missing = [path for path in paths if not osp.isfile(path)]
            if missing:
                raise FileNotFoundError(
                    f'{who}: {len(missing)} of {len(paths)} shards have no {what}, e.g. no file '
                    f'{missing[0]}. {how_to_make(missing[0])}'
                )

    def _open(self, shard: str, index: ShardIndex, who: str) -> _Shard:
        path = proposals_path(self.folder, shard)
        places, meta = read_meta(path, who)
        number, total = len_of(places['starts']) - 1, len_of(places['boxes'])
        remedy = f'{how_to_make(path)} --overwrite'
        if number < 0 or len_of(places['checksums']) != number:
            raise ValueError(
                f'{who}: {path} is damaged: it has {len_of(places["checksums"])} checksums of '
                f'{number} pairs. {remedy}'
            )
        last = self._array(path, places['starts'], number, number + 1)[0]
        if len_of(places['objectness']) != total or last != total:
            raise ValueError(
                f'{who}: {path} is damaged: it counts {last} proposals, and holds {total} boxes '
                f'and {len_of(places["objectness"])} logits. {remedy}'
            )
        self.fingerprint = self._compare(self.fingerprint, meta['fingerprint'], path, who)
        broken = {row: f'{key}: {reason}' for row, key, reason in meta['broken']}
        rows = None
        if meta['pairs_sha256'] != pairs_hash(index) or number != len(index):
            rows = self._match(path, index, shard, who)
        teacher = self._open_teacher(shard, meta, number, total, who) if self.with_teacher else None
        return _Shard(path, places, rows, broken, teacher)

    @staticmethod
    def _match(path: str, index: ShardIndex, shard: str, who: str) -> np.ndarray:
        """Rows of the file for the pairs of the index."""
        row_of = rows_of_pairs(path)
        pairs = list(zip(keys_of(index), lengths_of(index).tolist(), strict=True))
        keys = [key for key, _ in pairs]
        missing = [pair[0] for pair in pairs if pair not in row_of]
        if missing or len(set(keys)) < len(keys):
            what = (
                f'e.g. of {missing[0]!r}: it was made for other pairs or images'
                if missing
                else ('or several for the same key')
            )
            raise ValueError(
                f'{who}: {path} has no proposals for {len(missing)} of {len(keys)} pairs of '
                f'{shard}, {what}. {how_to_make(path)} --overwrite'
            )
        return np.array([row_of[pair] for pair in pairs], dtype=np.int32)

    def _open_teacher(
        self, shard: str, meta: Mapping[str, Any], number: int, total: int, who: str
    ) -> tuple[str, dict[str, ArrayPlace]]:
        path = teacher_path(self.folder, shard)
        places, teacher_meta = read_meta(path, who)
        embeddings = places['embeddings']
        same = teacher_meta['boxes_sha256'] == meta['boxes_sha256']
        if not same or len_of(embeddings) != total or len_of(places['checksums']) != number:
            raise ValueError(
                f'{who}: {path} holds {len_of(embeddings)} embeddings of other boxes than the '
                f'{total} of {proposals_path(self.folder, shard)}. '
                f'{how_to_make(path)} --overwrite'
            )
        self.teacher_fingerprint = self._compare(
            self.teacher_fingerprint, teacher_meta['fingerprint'], path, who
        )
        return path, places

    @staticmethod
    def _compare(
        known: dict[str, Any] | None, found: dict[str, Any], path: str, who: str
    ) -> dict[str, Any]:
        differing = differences(known, found) if known is not None else []
        if differing:
            raise ValueError(
                f'{who}: {path} was created with other settings than the files before it: '
                f'{", ".join(differing)} differ. {how_to_make(path)} --overwrite'
            )
        return found

    def of(self, shard: int, row: int) -> dict[str, np.ndarray]:
        """Proposals of one pair, as ``LoadRegionProposals`` takes them.

        Args:
            shard: Number of the shard.
            row: Row of the pair in the index.

        Returns:
            ``normalized_bboxes`` float32 ``(N, 4)``, ``objectness_logits`` float32 ``(N,)`` and,
            ``with_teacher``, ``teacher_embeddings`` ``(N, D)``.

        Raises:
            BrokenImageError: The image could not be read when proposals were made, or the file
                cannot be read now.
        """
        stored = self._shards[shard]
        row = row if stored.rows is None else int(stored.rows[row])
        if row in stored.broken:
            raise BrokenImageError(f'{stored.path}, row {row}: {stored.broken[row]}')
        found = self._of_pair(stored.path, stored.places, row, ('boxes', 'objectness'), stored)
        if stored.teacher is not None:
            found += self._of_pair(*stored.teacher, row, ('embeddings',), stored)
        names = ('normalized_bboxes', 'objectness_logits', 'teacher_embeddings')
        return dict(zip(names, found))

    def _of_pair(
        self,
        path: str,
        places: Mapping[str, ArrayPlace],
        row: int,
        names: tuple[str, ...],
        stored: _Shard,
    ) -> list[np.ndarray]:
        """Rows of some arrays of a file that belong to one pair."""
        try:
            (wanted,) = self._array(path, places['checksums'], row, row + 1).tolist()
            first, last = self._array(stored.path, stored.places['starts'], row, row + 2).tolist()
            whole = 0 <= first <= last <= len_of(places[names[0]])
            rows = (first, last) if whole else (0, 0)
            found = [self._array(path, places[name], *rows) for name in names]
        except OSError as error:
            raise BrokenImageError(f'{path}, row {row}: cannot be read: {error}') from error
        if not whole or checksum(*found) != wanted:
            raise BrokenImageError(
                f'{path}, row {row}: the checksum differs, the file is damaged. '
                f'{how_to_make(path)} --overwrite'
            )
        return found

    def _array(self, path: str, place: ArrayPlace, first: int, last: int) -> np.ndarray:
        content = self._reader.read(path, *place.rows(first, last))
        # a copy: arrays of bytes cannot be written to
        return np.frombuffer(content, place.dtype).reshape(last - first, *place.shape[1:]).copy()
