# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Concepts of many captions, counted by several processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice

from tqdm import tqdm

from .nouns import Kind, NounBackend, concepts_of

_CHUNK = 2000
# Chunks handed out before the oldest is waited for: bounds memory, keeps every process busy.
_CHUNKS_PER_PROCESS = 4


@dataclass
class ConceptCounts:
    """What captions name.

    Attributes:
        counts: Concept to the number of times that it is named.
        captions: Captions read.
        without: Captions that name nothing.
    """

    counts: Counter[str] = field(default_factory=Counter)
    captions: int = 0
    without: int = 0

    def add(self, other: ConceptCounts) -> None:
        """Count another's captions, too."""
        self.counts.update(other.counts)
        self.captions += other.captions
        self.without += other.without

    def keep(self, min_count: int) -> dict[str, int]:
        """The pool: concepts named often enough, in descending order of counts, then by name.

        Args:
            min_count: The paper drops concepts named less than 100 times (section 4, "Object
                concepts").

        Raises:
            ValueError: None is left.
        """
        kept = {
            name: count
            for name, count in sorted(self.counts.items(), key=lambda entry: (-entry[1], entry[0]))
            if count >= min_count
        }
        if not kept:
            most = self.counts.most_common(1)
            found = f'the most frequent, {most[0][0]!r}, {most[0][1]}' if most else 'there is none'
            raise ValueError(
                f'no concept is named {min_count} times in {self.captions} captions; {found}. '
                'Give more captions or a smaller --min-count.'
            )
        return kept

    def report(self, pool: dict[str, int], min_count: int, num_left_out: int = 0) -> str:
        """Raw and kept numbers in two lines."""
        mentions, kept = sum(self.counts.values()), sum(pool.values())
        return (
            f'captions: {self.captions} read, {self.without} of them name nothing; {num_left_out} '
            f'empty or broken ones left out\n'
            f'concepts: {len(self.counts)} raw, {len(pool)} kept (named at least {min_count} '
            f'times); {kept} of {mentions} mentions kept'
        )


def count_concepts(
    captions: Iterable[str],
    backend: NounBackend,
    kind: Kind = 'words',
    processes: int = 1,
    progress: bool = False,
) -> ConceptCounts:
    """Count the concepts of captions; the result does not depend on the number of processes.

    Args:
        captions: Read once, a few thousand at a time.
        backend: Finds the nouns.
        kind: See ``concepts_of``.
        processes: Workers; with 1 the work is done here.
        progress: Show a progress bar.

    Raises:
        ValueError: Fewer than one process.
        RuntimeError: A worker died.
    """
    if processes < 1:
        raise ValueError(f'processes must be at least 1, not {processes}.')
    total = ConceptCounts()
    with tqdm(unit='captions', unit_scale=True, disable=not progress) as bar:
        for part in _parts(captions, backend, kind, processes):
            total.add(part)
            bar.update(part.captions)
    return total


def _parts(
    captions: Iterable[str], backend: NounBackend, kind: Kind, processes: int
) -> Iterator[ConceptCounts]:
    captions = iter(captions)
    chunks = iter(lambda: list(islice(captions, _CHUNK)), [])
    if processes == 1:
        yield from (_count(chunk, backend, kind) for chunk in chunks)
        return
    # Forked workers share the loaded back end; other ways would send it and import torch again.
    context = multiprocessing.get_context('fork')
    with ProcessPoolExecutor(processes, context, _start_worker, (backend, kind)) as pool:
        pending: deque[Future[ConceptCounts]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_count_in_worker, chunk))
                if len(pending) >= processes * _CHUNKS_PER_PROCESS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise RuntimeError(
                'a process that counts concepts was killed, usually for want of memory. Nothing '
                'was counted; use fewer processes.'
            ) from None
        finally:
            for future in pending:
                future.cancel()


def _count(captions: list[str], backend: NounBackend, kind: Kind) -> ConceptCounts:
    found: list[str] = []
    without = 0
    for runs in backend.find(captions):
        found.extend(concepts_of(runs, kind))
        without += not runs
    return ConceptCounts(Counter(found), len(captions), without)


_worker: tuple[NounBackend, Kind] | None = None


def _start_worker(backend: NounBackend, kind: Kind) -> None:
    global _worker
    _worker = backend, kind


def _count_in_worker(captions: list[str]) -> ConceptCounts:
    assert _worker is not None
    return _count(captions, *_worker)
