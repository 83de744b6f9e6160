# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals of all images of all shards, shared among processes."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..datasets.broken_images import MIN_SEEN, is_broken_image
from ..datasets.preparation import write_all
from ..datasets.shards import (
    PairsInShards,
    ShardIndex,
    StoredProposals,
    check_names,
    exclusion_line,
    keys_of,
    lengths_of,
    pairs_hash,
    proposals_path,
    read_meta,
    rows_of_pairs,
    teacher_path,
    write_proposals,
    write_teacher,
)
from ..datasets.size_groups import groups_of_one_size
from ..datasets.transforms import BrokenImageError
from ..engine.ranks import on_main_process
from ..resumable_job import BROKEN_FILE, ResumableJob, broken_lines, refuse_other_settings
from .proposal_maker import Made, ProposalMaker


@dataclass
class ProposalsReport:
    """What a folder of proposals holds, and what was done for it.

    Attributes:
        shards: number of shards.
        kept: number of shards that had their files already.
        images: number of images computed now, by all processes.
        seconds: time until the slowest process had finished.
        broken: shard, key and reason of every image without proposals because it is damaged; of
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
        lines += broken_lines([(osp.join(shard, key), why) for shard, key, why in self.broken])
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

    To be called by all processes, see ``ResumableJob``. Damaged images get no proposals; they are
    named in the file of their shard and in ``broken.tsv``, which the dataset takes as ``exclude``.

    Args:
        dataset: whole dataset, with ``pipeline``; ``skip_broken`` is False.
        maker: localizer and teacher with weights, on their device.
        pipeline: transforms that load and resize images, see ``fixed_view``.
        out: folder for the files.
        batch_size: number of images of one size that are computed together; results of several are
            equal up to rounding.
        num_workers: number of processes that load images.
        overwrite: replace files that were made with other settings.
        progress: show a progress bar.

    Raises:
        ValueError: the folder holds files made with other settings.
        OSError: more images are damaged than the dataset's ``max_broken_share``, or one cannot be
            read that had proposals.
    """
    out = str(out)
    job = _ProposalJob(dataset, maker, pipeline, out, batch_size, overwrite)
    done = job.run(out, num_workers, progress)
    number = len(dataset.shards)
    report = ProposalsReport(number, number - done.parts, done.images, done.seconds)

    def check_and_list() -> None:
        StoredProposals(out, dataset.shards, dataset.indices, maker.teacher is not None, out)
        for shard in dataset.shards:
            _, meta = read_meta(proposals_path(out, shard), out)
            report.broken += [(shard, key, reason) for _, key, reason in meta['broken']]
        lines = [exclusion_line(shard, key, why) for shard, key, why in report.broken]
        write_all({Path(out) / BROKEN_FILE: lines}, progress=False)

    on_main_process(check_and_list)
    return report


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


@dataclass
class _Shard:
    """Work on one shard.

    Attributes:
        number: number of the shard in the dataset.
        boxes: whether proposals are wanted; otherwise only the teacher's embeddings of those that
            are there.
    """

    number: int
    boxes: bool


class _ProposalJob(ResumableJob[_Shard]):
    def __init__(
        self,
        dataset: PairsInShards,
        maker: ProposalMaker,
        pipeline: Sequence[Mapping[str, Any]],
        out: str,
        batch_size: int,
        overwrite: bool,
    ) -> None:
        self.data, self.maker, self.out = dataset, maker, out
        self.batch_size, self.overwrite = batch_size, overwrite
        self.fingerprint = maker.fingerprint(pipeline)
        self.teacher_fingerprint = maker.teacher_fingerprint(pipeline)

    def missing(self) -> list[_Shard]:
        """Shards to compute: files that are damaged, or lack pairs of their shard, count, too."""
        check_names(self.data.shards, self.out)
        return [
            _Shard(number, boxes)
            for number, (path, index) in enumerate(
                zip(self.data.shards, self.data.indices, strict=True)
            )
            if (boxes := self._needs_boxes(path, index)) or self._needs_teacher(path)
        ]

    def _needs_boxes(self, path: str, index: ShardIndex) -> bool:
        stored = proposals_path(self.out, path)
        meta = self._present(stored, self.fingerprint)
        if meta is None:
            return True
        if meta['pairs_sha256'] == pairs_hash(index):
            return False
        if self.teacher_fingerprint is not None:  # embeddings are wanted of all pairs of a file
            return True
        pairs = set(zip(keys_of(index), lengths_of(index).tolist(), strict=True))
        return not pairs <= rows_of_pairs(stored).keys()

    def _needs_teacher(self, path: str) -> bool:
        if self.teacher_fingerprint is None:
            return False
        _, boxes = read_meta(proposals_path(self.out, path), '')
        meta = self._present(teacher_path(self.out, path), self.teacher_fingerprint)
        return meta is None or meta['boxes_sha256'] != boxes['boxes_sha256']

    def _present(self, path: str, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a file says of itself; None if it must be written."""
        if not osp.isfile(path):
            return None
        try:
            _, meta = read_meta(path, '')
        except ValueError:
            return None
        if self.overwrite and meta['fingerprint'] != fingerprint:
            return None
        refuse_other_settings(path, meta['fingerprint'], fingerprint)
        return meta

    def dataset(self, parts: Sequence[_Shard]) -> Dataset:
        """Images of all pairs of some shards."""
        starts = self.data.shard_starts
        numbers = [np.arange(*starts[part.number : part.number + 2]) for part in parts]
        return _Images(self.data, np.concatenate(numbers))

    def compute(self, part: _Shard, images: Iterator[Any]) -> None:
        """Proposals and embeddings of one shard; images of one size are computed together."""
        shard, index = self.data.shards[part.number], self.data.indices[part.number]
        boxes: dict[int, np.ndarray] | None = None
        if not part.boxes:
            boxes = _stored_boxes(StoredProposals(self.out, [shard], [index]), len(index))
        broken: dict[int, str] = {}

        def whole() -> Iterator[tuple[int, Any]]:
            for row in range(len(index)):
                sample = next(images)
                if not isinstance(sample, str):
                    yield row, sample
                    continue
                broken[row] = sample
                if boxes is not None and len(boxes[row]):
                    raise OSError(f'{sample} It could be read when its proposals were made.')
                self._limit_broken(shard, row + 1, broken)

        found: dict[int, Made] = {}
        for group in groups_of_one_size(
            whole(), lambda item: tuple(item[1]['inputs'].shape), self.batch_size
        ):
            rows = [row for row, _ in group]
            given = None if boxes is None else [boxes[row] for row in rows]
            made = self.maker.make([sample for _, sample in group], given)
            found.update(zip(rows, made, strict=True))
        nothing = self.maker.nothing()
        self._write(part, [found.get(row, nothing) for row in range(len(index))], broken)

    def _limit_broken(self, shard: str, seen: int, broken: Mapping[int, str]) -> None:
        share = self.data.max_broken_share
        if seen >= MIN_SEEN and len(broken) > share * seen:
            raise OSError(
                f'{len(broken)} of the first {seen} images of {shard} are damaged, more than '
                f'max_broken_share={share} of the dataset; the last one: {broken[seen - 1]}'
            )

    def _write(self, part: _Shard, made: Sequence[Made], broken: Mapping[int, str]) -> None:
        shard, index = self.data.shards[part.number], self.data.indices[part.number]
        path = proposals_path(self.out, shard)
        if part.boxes:
            write_proposals(
                path,
                index,
                [image.boxes for image in made],
                [image.objectness for image in made],
                self.fingerprint,
                broken,
            )
        if self.teacher_fingerprint is not None:
            write_teacher(
                teacher_path(self.out, shard),
                [image.embeddings for image in made if image.embeddings is not None],
                self.maker.width,
                read_meta(path, self.out)[1]['boxes_sha256'],
                self.teacher_fingerprint,
            )


def _stored_boxes(stored: StoredProposals, number: int) -> dict[int, np.ndarray]:
    """Boxes that are there already, as fractions; none of damaged images."""
    boxes = {}
    for row in range(number):
        try:
            boxes[row] = stored.of(0, row)['normalized_bboxes']
        except BrokenImageError:
            boxes[row] = np.zeros((0, 4), dtype=np.float32)
    return boxes
