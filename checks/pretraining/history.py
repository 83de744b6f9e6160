# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a run that was broken off and resumed has trained on, from its processes' records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regionclip_mmdet.engine.robust.sample_record import FILE_NAME


@dataclass(frozen=True)
class Batch:
    """What one process trained on in one iteration.

    Attributes:
        number_of_pass: Pass over the data, from 0.
        number: Of the batch in its pass, from 0.
        images: Ids of the samples.
        instead_of: Of each the id of the broken image in whose place it was drawn, or None.
    """

    number_of_pass: int
    number: int
    images: tuple[Any, ...]
    instead_of: tuple[Any, ...]

    @property
    def places(self) -> list[Any]:
        """What the sampler chose: ids of broken images where others were drawn for them."""
        return [
            image if broken is None else broken
            for image, broken in zip(self.images, self.instead_of, strict=True)
        ]


@dataclass
class Record:
    """Of one process in one start of a run; iterations count from 1."""

    rank: int
    world_size: int
    pid: int
    first_iteration: int
    batches_per_pass: int
    batches: dict[int, Batch] = field(default_factory=dict)

    @property
    def last_iteration(self) -> int:
        """The last one on record, ``first_iteration - 1`` if there is none."""
        return max(self.batches, default=self.first_iteration - 1)


@dataclass
class Start:
    """One start of a run: the records of its processes by rank, and its log folder's name."""

    name: str
    records: list[Record]

    @property
    def first_iteration(self) -> int:
        """The iteration that it began with."""
        return self.records[0].first_iteration

    @property
    def last_iteration(self) -> int:
        """The last one that all processes began."""
        return min(record.last_iteration for record in self.records)


def read_record(path: Path) -> Record | None:
    """A file of ``SampleRecordHook``; None as long as it has no whole line.

    A process that is killed may leave half of its last line; it had not begun that iteration.

    Raises:
        ValueError: Another line is damaged.
    """
    record = None
    lines = path.read_bytes().split(b'\n')
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last end of line is half
        try:
            content = json.loads(line)
            if record is None:
                record = Record(**content)
            else:
                record.batches[content['iteration']] = Batch(
                    content['pass'],
                    content['batch'],
                    tuple(content['images']),
                    tuple(content['instead_of']),
                )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'{path}, line {number}: no line of SampleRecordHook: {error}'
            ) from None
    return record


def read_starts(work_dir: str | Path) -> list[Start]:
    """All starts of a run in the order of time; a start that recorded nothing is left out.

    Args:
        work_dir: Of the run.
    """
    starts = []
    for folder in sorted({path.parent for path in Path(work_dir).glob('*/' + FILE_NAME.format(0))}):
        found = [read_record(path) for path in folder.glob(FILE_NAME.format('*'))]
        records = sorted((r for r in found if r is not None), key=lambda record: record.rank)
        if records:
            starts.append(Start(folder.name, records))
    return starts


@dataclass
class History:
    """What the weights at the end have learned from.

    Attributes:
        steps: The batches of all processes, by rank, of each iteration that was not lost.
        lost: Iterations that were done, lost with a break, and done again.
        differing: Of these the ones that had other samples the second time.
        problems: Why this is no history of one training; empty if it is.
    """

    steps: dict[int, list[Batch]] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    differing: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def surviving_history(starts: list[Start], last_iteration: int) -> History:
    """Of each start the iterations up to that from which the next one went on.

    Args:
        starts: In the order of time.
        last_iteration: Of the whole training.
    """
    history = History()
    if not starts:
        history.problems.append('no process recorded anything')
        return history
    firsts = [start.first_iteration for start in starts]
    if firsts[0] != 1:
        history.problems.append(f'the first start began with iteration {firsts[0]}, not 1')
    for start, until in zip(starts, [*firsts[1:], last_iteration + 1], strict=True):
        history.problems += _problems_of(start)
        for iteration in range(start.first_iteration, until):
            batches = [r.batches[iteration] for r in start.records if iteration in r.batches]
            if len(batches) != len(start.records):
                lacking = [r.rank for r in start.records if iteration not in r.batches]
                history.problems.append(
                    f'{start.name}: no record of iteration {iteration} by process {lacking}'
                )
            else:
                history.steps[iteration] = batches
    for start, after in zip(starts, starts[1:]):
        for iteration in range(after.first_iteration, start.last_iteration + 1):
            history.lost.append(iteration)
            old, new = (
                [record.batches.get(iteration) for record in s.records] for s in (start, after)
            )
            if old != new:
                history.differing.append(iteration)
    return history


def _problems_of(start: Start) -> list[str]:
    problems = []
    world_size = start.records[0].world_size
    ranks = [record.rank for record in start.records]
    if ranks != list(range(world_size)):
        problems.append(f'{start.name}: records of processes {ranks}, of {world_size}')
    for what in ('first_iteration', 'batches_per_pass', 'world_size'):
        values = [getattr(record, what) for record in start.records]
        if len(set(values)) > 1:
            problems.append(f'{start.name}: {what} differs by process: {values}')
    return problems
