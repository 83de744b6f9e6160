# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Whether every sample came exactly once in each pass over the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from .history import Batch, History


@dataclass
class PassReport:
    """One complete pass, all processes together.

    Attributes:
        number: From 0.
        iterations: Its first and last iteration.
        once: Samples that the sampler chose exactly once, padding aside.
        padding: Those that came again at the end, to give all processes as many.
        left_out: How many were left out at the end for the same reason.
        stand_ins: Broken image and what was drawn in its place.
        problems: What is wrong; empty if the pass is as it should be.
    """

    number: int
    iterations: tuple[int, int]
    once: int = 0
    padding: list[Any] = field(default_factory=list)
    left_out: int = 0
    stand_ins: list[tuple[Any, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f'iterations {self.iterations[0]} to {self.iterations[1]}: {self.once} samples once'
        if self.padding:
            text += f', the first {len(self.padding)} again as padding'
        if self.left_out:
            text += f', {self.left_out} left out at the end'
        if self.stand_ins:
            text += f', others in place of {len(self.stand_ins)} broken ones'
        return text + ''.join(f'; {problem}' for problem in self.problems)


def check_passes(
    history: History,
    batches_per_pass: int,
    good: Collection[Any],
    undecodable: Collection[Any] = (),
    tail: str = 'pad',
) -> list[PassReport]:
    """Check each complete pass of a history; of others nothing can be said.

    The order of a pass is put together from the processes' shares, of which ``ShardSampler`` and
    mmengine's ``DefaultSampler`` give process ``r`` of ``n`` every ``n``-th sample. It must hold
    every sample once and then, with ``tail='pad'``, the first ones again until all shares are
    equal. A broken image takes part by its place, where another one is drawn for it.

    Args:
        history: What was trained.
        batches_per_pass: Of each process; iteration 1 begins the first pass.
        good: Ids of the samples that every pass must use.
        undecodable: Ids of samples that the dataset holds, but whose images are broken.
        tail: Of the sampler, ``'pad'`` or ``'drop'``.
    """
    passes: dict[int, list[int]] = {}
    for iteration in sorted(history.steps):
        passes.setdefault((iteration - 1) // batches_per_pass, []).append(iteration)
    reports = []
    for number, iterations in passes.items():
        if len(iterations) < batches_per_pass:
            continue
        report = PassReport(number, (iterations[0], iterations[-1]))
        steps = [history.steps[iteration] for iteration in iterations]
        report.problems += _misplaced(number, iterations, steps)
        _check_pass(report, steps, set(good), set(undecodable), tail)
        reports.append(report)
    return reports


def _misplaced(number: int, iterations: list[int], steps: list[list[Batch]]) -> list[str]:
    """Iterations that trained another batch than that of their place in the pass."""
    wrong = []
    for place, (iteration, batches) in enumerate(zip(iterations, steps, strict=True)):
        found = sorted({(batch.number_of_pass, batch.number) for batch in batches})
        if found != [(number, place)]:
            wrong.append(f'iteration {iteration}: pass and batch {found}, not {(number, place)}')
    return [f'{len(wrong)} out of place: {wrong[0]}'] if wrong else []


def _check_pass(
    report: PassReport,
    steps: list[list[Batch]],
    good: set[Any],
    undecodable: set[Any],
    tail: str,
) -> None:
    wanted = good | undecodable
    processes = len(steps[0])
    if any(len(batches) != processes for batches in steps):
        report.problems.append('the number of processes changed within it')
        return
    shares = [[p for batches in steps for p in batches[rank].places] for rank in range(processes)]
    if len({len(share) for share in shares}) > 1:
        report.problems.append(f'shares of {[len(share) for share in shares]} samples')
        return
    order = [place for places in zip(*shares, strict=True) for place in places]
    uneven = len(wanted) % processes
    total = len(wanted) + (processes - uneven if uneven and tail == 'pad' else 0)
    if tail == 'drop':
        total -= uneven
        report.left_out = uneven
    if len(order) != total:
        report.problems.append(f'{len(order)} samples in place of {total}')
    first, report.padding = order[: len(wanted)], order[len(wanted) :]
    if report.padding != order[: len(report.padding)]:
        report.problems.append(f'padding is not the first of the pass: {_some(report.padding)}')
    counts = Counter(first)
    report.once = sum(1 for place, count in counts.items() if count == 1 and place in wanted)
    for what, found in (
        ('repeated', [place for place, count in counts.items() if count > 1]),
        ('missing', sorted(wanted - set(counts)) if tail == 'pad' else []),
        ('unknown', [place for place in counts if place not in wanted]),
    ):
        if found:
            report.problems.append(f'{len(found)} {what}: {_some(found)}')
    _check_stand_ins(report, [b for batches in steps for b in batches], good, undecodable)


def _check_stand_ins(
    report: PassReport, batches: list[Batch], good: set[Any], undecodable: set[Any]
) -> None:
    trained = set()
    for batch in batches:
        for image, broken in zip(batch.images, batch.instead_of, strict=True):
            trained.add(image)
            if broken is not None:
                report.stand_ins.append((broken, image))
    wrong = [broken for broken, _ in report.stand_ins if broken not in undecodable]
    if wrong:
        report.problems.append(f'{len(wrong)} good ones replaced: {_some(wrong)}')
    if trained - good:
        report.problems.append(f'broken or unknown ones trained: {_some(sorted(trained - good))}')


def _some(found: list[Any]) -> str:
    return ', '.join(map(str, found[:3])) + (', ...' if len(found) > 3 else '')
