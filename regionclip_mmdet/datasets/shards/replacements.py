# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What comes in place of damaged samples of shards."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dist import get_world_size

from ..broken_images import MIN_SEEN

# Failures after which a shard is given up for one sample.
_TRIES_IN_A_SHARD = 3


class ReplacementsNearby:
    """Draws from the damaged sample's own shard, which is being read and may be a distant copy.

    After every third failure it is the next shard's turn: all samples of a lost shard are replaced
    by those of one other. The choice depends on the sample and its random numbers alone, so it is
    the same after resuming.

    A lost shard is nearly everything that is seen while its group of shards is read, so
    ``max_broken_share`` is judged by the samples of a whole pass.

    Mix in before ``BrokenImagePolicy``.
    """

    _asked = 0
    _world_size = 1

    def full_init(self) -> None:
        """As in the dataset."""
        super().full_init()
        self._world_size = get_world_size()  # spawned workers do not know it

    def prepare_data(self, idx: int) -> Any:
        """As in ``BrokenImagePolicy``."""
        self._asked = idx
        return super().prepare_data(idx)

    def _rand_another(self) -> int:
        if self._chosen is not None:
            return super()._rand_another()
        shard, _ = self.place(self._asked)
        if self._in_a_row % _TRIES_IN_A_SHARD == 0:
            filled = np.flatnonzero(np.diff(self.shard_starts))
            shard = int(filled[np.searchsorted(filled, shard, side='right') % len(filled)])
        return int(np.random.randint(self.shard_starts[shard], self.shard_starts[shard + 1]))

    def _fewest_for_share(self) -> int:
        return max(MIN_SEEN, len(self) // self._world_size)
