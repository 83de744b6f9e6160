# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Random order that reads few shards at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler


def starts_of_shards(dataset: Any) -> np.ndarray:
    """Number of the first sample of each shard, and of all samples, int64 ``(shards + 1,)``.

    Looks through concatenations of datasets.

    Raises:
        TypeError: The dataset does not come in shards.
    """
    if hasattr(dataset, 'datasets'):
        parts = [starts_of_shards(part) for part in dataset.datasets]
        sizes = np.concatenate([np.diff(part) for part in parts])
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    size = len(dataset)  # has a lazy dataset read its indices
    starts = getattr(dataset, 'shard_starts', None)
    if starts is None or starts[-1] != size:
        raise TypeError(
            f'ShardSampler: {type(dataset).__name__} does not come in whole shards. Use it with '
            'ImageTextShards or ImageTextTSV without subsets, or use DefaultSampler.'
        )
    return starts


@DATA_SAMPLERS.register_module()
class ShardSampler(Sampler):
    """Shuffles shards, then samples within a few shards at a time.

    A pass takes the shards in random order, ``buffer_shards`` at a time, and the samples of these
    in random order. That is one order of all samples, the same on all processes; process ``r`` of
    ``n`` takes every ``n``-th of them from the ``r``-th on, as with mmengine's ``DefaultSampler``.
    So at any time all processes and workers together read few files, and a run that goes on with
    another number of processes goes on in the same order.

    Args:
        dataset: With ``shard_starts``, or a concatenation of such datasets.
        buffer_shards: Shards in use at a time. More shuffle better; as many as fit into the
            machine's memory, where the file system keeps them, are read but once.
        shuffle: False takes the samples as they lie.
        seed: The same on all processes; None draws one.
        tail: What becomes of samples that cannot be shared evenly. ``'pad'``: the first of the
            pass come again, at most one for each process but one. ``'drop'``: as many are left
            out, others in each pass.

    Raises:
        ValueError: Settings that mean nothing, or fewer samples than processes with ``'drop'``.
    """

    def __init__(
        self,
        dataset: Any,
        buffer_shards: int = 8,
        shuffle: bool = True,
        seed: int | None = None,
        tail: str = 'pad',
    ) -> None:
        if tail not in ('pad', 'drop'):
            raise ValueError(f"ShardSampler: tail must be 'pad' or 'drop', not {tail!r}.")
        if buffer_shards < 1:
            raise ValueError(f'ShardSampler: buffer_shards must be positive, not {buffer_shards}.')
        self.rank, self.world_size = get_dist_info()
        self.starts = starts_of_shards(dataset)
        self.buffer_shards = buffer_shards
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.tail = tail
        self.epoch = 0
        size = int(self.starts[-1])
        rounded = size + self.world_size - 1 if tail == 'pad' else size
        self.num_samples = rounded // self.world_size
        if self.num_samples == 0:
            raise ValueError(
                f'ShardSampler: {size} samples cannot be shared by {self.world_size} processes '
                "with tail='drop'."
            )

    @property
    def order_settings(self) -> dict[str, Any]:
        """What the order depends on besides seed and pass; resuming compares it."""
        return dict(
            buffer_shards=self.buffer_shards,
            shuffle=self.shuffle,
            tail=self.tail,
            shards=len(self.starts) - 1,
            checksum_of_sizes=zlib.crc32(np.asarray(self.starts, dtype='<i8').tobytes()),
        )

    def order(self) -> Iterator[int]:
        """All samples in the order of the present pass, of all processes together."""
        number = len(self.starts) - 1
        if not self.shuffle:
            yield from range(int(self.starts[-1]))
            return
        generator = np.random.default_rng([self.seed, self.epoch])
        shards = generator.permutation(number)
        for first in range(0, number, self.buffer_shards):
            group = shards[first : first + self.buffer_shards]
            samples = [np.arange(self.starts[shard], self.starts[shard + 1]) for shard in group]
            yield from generator.permutation(np.concatenate(samples)).tolist()

    def __iter__(self) -> Iterator[int]:
        """Samples of this process."""
        total = self.num_samples * self.world_size
        yield from islice(self._endless_order(), self.rank, total, self.world_size)

    def _endless_order(self) -> Iterator[int]:
        while True:
            yield from self.order()

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass, which decides the order."""
        self.epoch = epoch
