# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals of all images of all shards, shared out among processes."""

from __future__ import annotations

import os.path as osp
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import broadcast_object_list, get_dist_info
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..datasets.broken_images import MIN_SEEN, is_broken_image
from ..datasets.preparation import write_all
from ..datasets.shards.exclusions import exclusion_line
from ..datasets.shards.pairs_in_shards import PairsInShards
from ..datasets.shards.proposal_format import (
    proposals_path,
    teacher_path,
    write_proposals,
    write_teacher,
)
from ..datasets.shards.proposal_meta import read_meta
from ..datasets.shards.stored_proposals import StoredProposals
from ..datasets.transforms import BrokenImageError
from ..engine.robust.ranks import of_all_ranks, raise_on_all_ranks
from .proposal_maker import Made, ProposalMaker
from .shard_tasks import ShardTask, missing_files

BROKEN_FILE = 'broken.tsv'
# Images that wait for others of their size: so many batches of them at most.
MAX_WAITING = 16


@dataclass
class ProposalsReport:
    """What a folder of proposals holds, and what was done for it.

    Attributes:
        shards: Number of shards.
        kept: Of these, how many were there already.
        images: Number of images looked at now, by all processes.
        seconds: Until the slowest process had finished.
        broken: Shard, key and reason of every image without proposals because it is damaged; of
            the first process only.
    """

    shards: int
    kept: int
    images: int
    seconds: float
    broken: list[tuple[str, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        rate = f' ({self.images / self.seconds:.1f} a second)' if self.images else ''
        lines = [
            f'{self.shards} shards, {self.kept} of them kept as they were; {self.images} images '
            f'now{rate}; {len(self.broken)} damaged images'
        ]
        lines += [f'  {osp.join(shard, key)}: {why}' for shard, key, why in self.broken[:20]]
        if len(self.broken) > 20:
            lines.append(f'  and {len(self.broken) - 20} more in {BROKEN_FILE}')
        return '\n'.join(lines)


def precompute_proposals(
    dataset: PairsInShards,
    maker: ProposalMaker,
    pipeline: Sequence[Mapping[str, Any]],
    out: str | Path,
    batch_size: int = 1,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> ProposalsReport:
    """Write the files of proposals of all shards of a dataset and, with a teacher, of embeddings.

    To be called by all processes; each takes every ``n``-th of the shards that lack files. Files
    are written whole or not at all: after an interruption the same call goes on with the shards
    that are missing. Damaged images get no proposals; they are named in the file of their shard
    and in ``broken.tsv``, which the dataset takes as ``exclude``.

    Args:
        dataset: Whole, with ``pipeline``; ``skip_broken`` is False.
        maker: On its device, with weights.
        pipeline: See ``fixed_view``.
        out: Folder.
        batch_size: Images of one size that are computed together; results of several are equal up
            to rounding.
        num_workers: Processes that load images.
        overwrite: Replace files that were made with other settings.
        progress: Show a progress bar.

    Raises:
        ValueError: The folder holds files made with other settings.
        OSError: More images are damaged than the dataset's ``max_broken_share``, or one cannot be
            read that had proposals.
    """
    rank, world_size = get_dist_info()
    out = str(out)
    prints = (
        maker.fingerprint(pipeline),
        None if maker.teacher is None else maker.teacher_fingerprint(pipeline),
    )
    shared: list[Any] = [None]
    with raise_on_all_ranks():
        if rank == 0:
            shared = [list(missing_files(dataset, out, *prints, overwrite))]
    broadcast_object_list(shared)
    tasks: list[ShardTask] = shared[0]
    mine = tasks[rank::world_size]
    begin = time.monotonic()
    images = sum(len(dataset.indices[task.shard]) for task in mine)
    title = out if world_size == 1 else f'{out} (process 1 of {world_size})'
    hidden = not progress or rank != 0
    with tqdm(total=images, desc=title, unit='images', disable=hidden) as bar:
        samples = _samples(dataset, mine, num_workers)
        for task in mine:
            work = _ShardWork(dataset, maker, task, out)
            work.run(samples, batch_size, bar)
            work.write(*prints)
    images = sum(of_all_ranks(images))  # waits for all
    seconds = time.monotonic() - begin
    broken: list[tuple[str, str, str]] = []
    with raise_on_all_ranks():
        if rank == 0:
            StoredProposals(out, dataset.shards, dataset.indices, prints[1] is not None, out)
            broken = _broken(dataset, out)
            lines = [exclusion_line(shard, key, why) for shard, key, why in broken]
            write_all({Path(out) / BROKEN_FILE: lines}, progress=False)
    return ProposalsReport(
        len(dataset.shards), len(dataset.shards) - len(tasks), images, seconds, broken
    )


class _Images(Dataset):
    """Samples after the pipeline; the reason, a text, in place of damaged ones."""

    def __init__(self, dataset: PairsInShards, numbers: np.ndarray) -> None:
        self.dataset, self.numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Any:
        idx = int(self.numbers[place])
        try:
            return self.dataset.prepare_data(idx)
        except Exception as error:
            if not is_broken_image(error):
                raise
            name, reason = self.dataset.image_name(idx), ' '.join(str(error).split())
            return reason if reason.startswith(name) else f'{name}: {reason}'


def _samples(dataset: PairsInShards, tasks: Sequence[ShardTask], num_workers: int) -> Iterator[Any]:
    """Samples of all pairs of some shards, in their order.

    One loader for all: its workers go on with the next shard while one is being written.
    """
    if not tasks:
        return iter(())
    starts = dataset.shard_starts
    numbers = np.concatenate([np.arange(*starts[task.shard : task.shard + 2]) for task in tasks])
    loader = DataLoader(
        _Images(dataset, numbers), None, num_workers=num_workers, collate_fn=_unchanged
    )
    return iter(loader)


def _unchanged(sample: Any) -> Any:
    return sample


class _ShardWork:
    """One shard: its samples in, its files out."""

    def __init__(
        self, dataset: PairsInShards, maker: ProposalMaker, task: ShardTask, out: str
    ) -> None:
        self.dataset, self.maker, self.task = dataset, maker, task
        self.path, self.index = dataset.shards[task.shard], dataset.indices[task.shard]
        self.out = out
        self.stored: StoredProposals | None = None
        if not task.boxes:
            self.stored = StoredProposals(out, [self.path], [self.index])
        self.made: dict[int, Made] = {}
        self.broken: dict[int, str] = {}

    def run(self, samples: Iterator[Any], batch_size: int, bar: tqdm) -> None:
        """Take this shard's samples; those of one size are computed together."""
        waiting: dict[tuple[int, ...], list[tuple[int, Any]]] = {}
        for row in range(len(self.index)):
            sample = next(samples)
            if isinstance(sample, str):
                self._leave_out(row, sample)
            else:
                shape = tuple(sample['inputs'].shape)
                waiting.setdefault(shape, []).append((row, sample))
                if len(waiting[shape]) == batch_size:
                    self._compute(waiting.pop(shape))
                elif sum(map(len, waiting.values())) > MAX_WAITING * batch_size:
                    self._compute(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))))
            bar.update()
        for group in waiting.values():
            self._compute(group)

    def _leave_out(self, row: int, reason: str) -> None:
        self.broken[row] = reason
        if self.stored is not None and len(self._boxes(row)):
            raise OSError(f'{reason} It could be read when its proposals were made.')
        share = self.dataset.max_broken_share
        if row + 1 >= MIN_SEEN and len(self.broken) > share * (row + 1):
            raise OSError(
                f'{len(self.broken)} of the first {row + 1} images of {self.path} are damaged, '
                f'more than max_broken_share={share} of the dataset; the last one: {reason}'
            )

    def _boxes(self, row: int) -> np.ndarray:
        """Boxes that are there already."""
        try:
            return self.stored.of(0, row)['normalized_bboxes']
        except BrokenImageError:
            return np.zeros((0, 4), dtype=np.float32)

    def _compute(self, group: list[tuple[int, Any]]) -> None:
        rows = [row for row, _ in group]
        given = None if self.stored is None else [self._boxes(row) for row in rows]
        made = self.maker.make([sample for _, sample in group], given)
        self.made.update(zip(rows, made, strict=True))

    def write(self, fingerprint: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> None:
        """Write the files."""
        rows = range(len(self.index))
        made = [self.made.get(row, self.maker.nothing()) for row in rows]
        path = proposals_path(self.out, self.path)
        if self.task.boxes:
            write_proposals(
                path,
                self.index,
                [part.boxes for part in made],
                [part.objectness for part in made],
                fingerprint,
                self.broken,
            )
        if teacher is not None:
            write_teacher(
                teacher_path(self.out, self.path),
                [part.embeddings for part in made],
                self.maker.width,
                read_meta(path, self.out)[1]['boxes_sha256'],
                teacher,
            )


def _broken(dataset: PairsInShards, out: str) -> list[tuple[str, str, str]]:
    """Damaged images of all shards."""
    return [
        (shard, key, reason)
        for shard in dataset.shards
        for _, key, reason in read_meta(proposals_path(out, shard), out)[1]['broken']
    ]
