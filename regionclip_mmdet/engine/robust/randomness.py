# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Random numbers that depend on where a run is, not on how it got there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# What a seed is for: the first word of its key, so that no two purposes share a stream.
ORDER, SAMPLE, ITERATION = range(3)


def derive_seed(*key: int) -> int:
    """Mix a key into one seed.

    Args:
        *key: Non-negative integers, for example seed, purpose, rank, position. Keys of one
            purpose must have the same length.

    Returns:
        64 bits; keys that differ in one word give unrelated seeds.
    """
    high, low = np.random.SeedSequence(key).generate_state(2).tolist()
    return high << 32 | low


def seed_generators(seed: int, accelerators: bool = True) -> None:
    """Seed the global generators of Python, numpy and torch.

    Args:
        seed: Seed of 64 bits.
        accelerators: False leaves CUDA's generators alone, as in a data worker, where torch would
            only remember the wish, with a stack trace each time.
    """
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    if accelerators:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Restore the global generators at the end, so that what is drawn inside changes nothing.

    For what looks at a run and must not be seen in its results. Of accelerators, the generator of
    the current CUDA device is restored.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
