# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How large the check is, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of a check.

    Attributes:
        pairs: Image-text pairs, before any are broken.
        shards: In so many shards.
        keep: Pairs that are left of the truncated shard.
        held_out: Scenes for the evaluation.
        single_objects: Images that the tiny CLIP is trained on.
        clip_iterations: Of its training.
        localizer_iterations: Of the localizer's.
        min_count: A concept is named at least so often.
        batch_size: Pairs of each process in an iteration.
        passes: Over the pairs.
        interval: Iterations between two checkpoints.
    """

    pairs: int = 2000
    shards: int = 20
    keep: int = 62
    held_out: int = 200
    single_objects: int = 2000
    clip_iterations: int = 120
    localizer_iterations: int = 100
    min_count: int = 20
    batch_size: int = 16
    passes: int = 3
    interval: int = 20


FULL = Sizes()
# For tests: everything runs, nothing is learned.
SMOKE = Sizes(
    pairs=80,
    shards=4,
    keep=12,
    held_out=12,
    single_objects=128,
    clip_iterations=2,
    localizer_iterations=2,
    min_count=2,
    batch_size=4,
    passes=2,
    interval=4,
)


@dataclass(frozen=True)
class Schedule:
    """Iterations of a training.

    Attributes:
        batches_per_pass: Of each process.
        iterations: Of the whole training.
        checkpoint: The last one before the break, within the second pass.
        kill_at: The iteration in which a process is killed, between two checkpoints.
    """

    batches_per_pass: int
    iterations: int
    checkpoint: int
    kill_at: int


def good_pairs(sizes: Sizes) -> int:
    """How many pairs are left when three and the end of a shard are broken."""
    return sizes.pairs - 3 - (sizes.pairs // sizes.shards - sizes.keep)


def plan(sizes: Sizes, samples: int, processes: int) -> Schedule:
    """Schedule of a training on so many samples, with padding at the end of a pass.

    Raises:
        ValueError: There is no room for a break within the second pass.
    """
    share = -(-samples // processes)
    per_pass = -(-share // sizes.batch_size)
    checkpoint = (per_pass // sizes.interval + 1) * sizes.interval
    schedule = Schedule(
        per_pass, sizes.passes * per_pass, checkpoint, checkpoint + 1 + sizes.interval // 2
    )
    if sizes.passes < 2 or schedule.kill_at >= 2 * per_pass:
        raise ValueError(
            f'{samples} samples are too few for {processes} processes of batch size '
            f'{sizes.batch_size}: a pass takes {per_pass} iterations.'
        )
    return schedule
