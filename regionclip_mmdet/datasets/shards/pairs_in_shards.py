# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What datasets of image-text pairs in large files share."""

from __future__ import annotations

import copy
import logging
import os.path as osp
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.utils import is_abs
from tqdm import tqdm

from ..broken_images import MAX_LOGGED
from ..transforms.load_image import BrokenImageError
from .captions import read_captions
from .exclusions import read_exclusions
from .paths import find_shards
from .shard_files import ShardFiles
from .shard_index import ShardIndex
from .stored_proposals import StoredProposals

# Bars for what takes seconds only would be noise.
_WORTH_A_BAR = 50


class IndexedPairs(BaseDataset):
    """Finds pairs and reads them.

    Attributes:
        shards: Paths.
        indices: The index of each shard.
        shard_starts: Number of the first sample of each shard and, at the end, of all samples,
            int64 ``(shards + 1,)``; for ``ShardSampler``.
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'image_text'}
    images_in_files = True  # there is nothing at img_path

    def __init__(
        self,
        shards: str | Sequence[str],
        data_root: str = '',
        caption_key: str | None = None,
        cache_dir: str | None = None,
        exclude: str | None = None,
        get_with: str | None = None,
        proposals: str | None = None,
        teacher_embeddings: bool = False,
        backend_args: dict[str, Any] | None = None,
        copy_dir: str | None = None,
        copy_gb: float = 100.0,
        **kwargs: Any,
    ) -> None:
        self.files = ShardFiles(backend_args, copy_dir, copy_gb)
        self.patterns = [shards] if isinstance(shards, str) else list(shards)
        self.caption_key = caption_key
        self.cache_dir = cache_dir
        self.exclude = exclude
        self.get_with = get_with
        self.proposals = proposals
        self.teacher_embeddings = teacher_embeddings
        self._stored: StoredProposals | None = None
        self.shards: list[str] = []
        self.indices: list[ShardIndex] = []
        self.shard_starts = np.zeros(1, dtype=np.int64)
        self._chosen: np.ndarray | None = None
        super().__init__(data_root=data_root, **kwargs)

    @abstractmethod
    def _index(self, shard: str) -> ShardIndex:
        """Index of a shard, kept or new."""

    @abstractmethod
    def _text_file(self, shard: str) -> str:
        """The file that the places of texts refer to."""

    def _decode(self, content: bytes) -> bytes:
        """Bytes of an image file from what a shard holds."""
        return content

    def _join_prefix(self) -> None:
        """Leave paths alone: ``find_shards`` joins them, and not every backend can."""

    def full_init(self) -> None:
        """Find or make the index of every shard.

        Raises:
            FileNotFoundError: A shard, or its file of proposals, is not there.
            ValueError: More is broken than ``max_broken_share`` allows, no pair is left, or
                proposals do not belong to the pairs.
        """
        if self._fully_initialized:
            return
        try:
            self.shards = find_shards(self.patterns, self.data_root or '', self.files)
        except FileNotFoundError as error:
            remedy = f' Get them with: {self.get_with}' if self.get_with else ''
            raise FileNotFoundError(f'{type(self).__name__}: {error}{remedy}') from None
        others = f' and {len(self.patterns) - 1} more' if len(self.patterns) > 1 else ''
        self.ann_file = osp.join(self.data_root or '', self.patterns[0]) + others
        self.indices = self._read_indices()
        self._report_broken()
        for shard, keys in self._excluded().items():
            self.indices[shard] = self.indices[shard].without(keys)
        self.shard_starts = np.cumsum([0, *map(len, self.indices)], dtype=np.int64)
        if self.shard_starts[-1] == 0:
            raise ValueError(
                f'{self.ann_file}: no image with a caption in {len(self.shards)} shards.'
            )
        if self.proposals is not None:
            self._stored = StoredProposals(
                self.below_root(self.proposals),
                self.shards,
                self.indices,
                self.teacher_embeddings,
                type(self).__name__,
                progress=get_dist_info()[0] == 0 and len(self.shards) >= _WORTH_A_BAR,
            )
        self._fully_initialized = True
        if self._indices is not None:
            self.get_subset_(self._indices)

    def below_root(self, path: str) -> str:
        """A path that may be relative to ``data_root``."""
        return path if is_abs(path) or not self.data_root else osp.join(self.data_root, path)

    def _read_indices(self) -> list[ShardIndex]:
        rank, world_size = get_dist_info()
        number = len(self.shards)
        found: dict[int, ShardIndex] = {}
        # Each process goes its own way, so that together they make every index once; the others'
        # are on the disk by the time it comes to them.
        order = np.arange(number)
        if world_size > 1:
            order = np.random.default_rng(rank).permutation(number)
        hidden = rank != 0 or number < _WORTH_A_BAR
        for shard in tqdm(order.tolist(), desc='indices of shards', unit='shards', disable=hidden):
            found[shard] = self._index(self.shards[shard])
        return [found[shard] for shard in range(number)]

    def broken_pairs(self) -> list[tuple[str, str, str]]:
        """Shard, key and reason of everything that the indices leave out.

        A damaged shard has the key ''.
        """
        found = []
        for shard, index in zip(self.shards, self.indices):
            if index.damage:
                found.append((shard, '', index.damage))
            found.extend((shard, key, reason) for key, reason in index.broken)
        return found

    def index_dir(self, shard: str) -> str | None:
        """Folder of its index; None: beside it."""
        return self.cache_dir or (None if self.files.is_local(shard) else self.files.copy_dir)

    def _report_broken(self) -> None:
        broken = self.broken_pairs()
        if not broken:
            return
        pairs = sum(1 for _, key, _ in broken if key)
        damaged = len(broken) - pairs
        usable = sum(map(len, self.indices))
        lost = sum(1 for index in self.indices if index.damage and not len(index))
        examples = [f'{osp.join(s, key) if key else s}: {why}' for s, key, why in broken]
        more = len(examples) - MAX_LOGGED
        text = (
            f'{self.ann_file}: {pairs} of {pairs + usable} pairs and {damaged} of '
            f'{len(self.shards)} shards are damaged or incomplete; {usable} pairs are used. '
            + '; '.join(examples[:MAX_LOGGED])
            + (f'; and {more} more' if more > 0 else '')
        )
        shares = (pairs / (pairs + usable) if pairs else 0, lost / len(self.shards))
        if max(shares) > self.max_broken_share:
            raise ValueError(
                f'{text}. That is more than max_broken_share={self.max_broken_share}: get them '
                'again, or raise it.'
            )
        print_log(text, logger='current', level=logging.WARNING)

    def _excluded(self) -> dict[int, set[str]]:
        if self.exclude is None:
            return {}
        path = self.below_root(self.exclude)
        return read_exclusions(path, self.shards, self.indices, self.files)

    @force_full_init
    def __len__(self) -> int:
        return int(self.shard_starts[-1]) if self._chosen is None else len(self._chosen)

    @force_full_init
    def place(self, idx: int) -> tuple[int, int]:
        """Number of the shard of a sample, and its row there."""
        idx = range(len(self))[idx]
        row = idx if self._chosen is None else int(self._chosen[idx])
        shard = int(np.searchsorted(self.shard_starts, row, side='right')) - 1
        return shard, row - int(self.shard_starts[shard])

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """``img_path`` (shard, key and suffix), ``img_id``, ``captions`` and ``sample_idx``.

        The image itself is read by ``prepare_data`` alone.

        Raises:
            BrokenImageError: The shard has changed since it was indexed.
        """
        shard, row = self.place(idx)
        index, path = self.indices[shard], self.shards[shard]
        img_path = osp.join(path, index.name(row))
        text = self._read(self._text_file(path), index.texts[row], img_path)
        try:
            captions = read_captions(text, bool(index.is_json[row]), self._key())
        except ValueError as error:
            raise BrokenImageError(
                f'{img_path}: {error}; the shard was changed after it was indexed.'
            ) from None
        return dict(
            img_path=img_path,
            img_id=osp.join(osp.basename(path), index.key(row)),
            captions=captions,
            sample_idx=range(len(self))[idx],
        )

    def image_bytes(self, idx: int) -> bytes:
        """The image file of a sample.

        Raises:
            BrokenImageError: It cannot be read, or is no base64.
        """
        shard, row = self.place(idx)
        path, index = self.shards[shard], self.indices[shard]
        img_path = osp.join(path, index.name(row))
        content = self._read(path, index.images[row], img_path)
        try:
            return self._decode(content)
        except ValueError as error:
            raise BrokenImageError(f'{img_path}: the image is no base64: {error}.') from None

    def _read(self, path: str, place: Iterable[int], what: str) -> bytes:
        try:
            return self.files.read(path, *map(int, place))
        except OSError as error:
            raise BrokenImageError(f'{what}: cannot be read: {error}') from error

    def _key(self) -> str:
        return self.caption_key or 'caption'

    def image_name(self, idx: int) -> str:
        """What messages call an image; reads nothing."""
        shard, row = self.place(idx)
        return osp.join(self.shards[shard], self.indices[shard].name(row))

    def prepare_data(self, idx: int) -> Any:
        """A sample after the pipeline.

        Before it the sample is ``get_data_info``, ``img_bytes``, the image file, and
        ``proposals``, see ``StoredProposals.of``, where the dataset has them.
        """
        item = {**self.get_data_info(idx), 'img_bytes': self.image_bytes(idx)}
        if self._stored is not None:
            item['proposals'] = self._stored.of(*self.place(idx))
        return self.pipeline(item)

    @force_full_init
    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep some samples; see ``BaseDataset``. ``shard_starts`` still counts all."""
        rows = np.arange(self.shard_starts[-1]) if self._chosen is None else self._chosen
        if isinstance(indices, int):
            rows = rows[:indices] if indices >= 0 else rows[indices:]
        else:
            rows = rows[np.asarray(indices, dtype=np.int64)]
        self._chosen = rows

    @force_full_init
    def get_subset(self, indices: Sequence[int] | int) -> IndexedPairs:
        """A dataset of some samples."""
        other = copy.copy(self)
        other.get_subset_(indices)
        return other
