# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Counting across the worker processes of a data loader."""

from __future__ import annotations

import torch
from torch.utils.data import get_worker_info

# One place for each worker and one for the main process, so that none waits for another.
_PLACES = 257


class SharedCounter:
    """A number that a process and its data loader's workers add to and all of them see.

    A copy counts on its own from where the original was. Loaders of one dataset that work at the
    same time may lose a count where their workers have the same number.
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(_PLACES, dtype=torch.int64).share_memory_()

    def add(self) -> None:
        """Add one."""
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id % (_PLACES - 1)] += 1

    @property
    def total(self) -> int:
        """What all processes have added."""
        return int(self._counts.sum())
