# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Time the building of a concept pool from generated captions.

    python tools/benchmark.py concept-pool
    python tools/benchmark.py concept-pool --captions 3000000 --processes 2 --keep captions.jsonl

The captions have the length of CC3M's (10 words) and frequencies of words by Zipf's law: content
words from TextBlob's lexicon, one in a hundred made up, no sense. They are written to a JSON-lines
file first, which is not timed. Each row is a process of its own that loads the back end, reads the
file, counts with so many workers and filters, as tools/concepts/build_concept_pool.py does; its
start alone is not timed. All rows must give the same pool. Reading is from the file cache. CPU
seconds, of all its processes together, say what other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from regionclip_mmdet.concepts import KINDS, CaptionFiles, count_concepts, make_backend

from ..generated_captions import GeneratedCaptions, write_captions
from ..timing import now

HELP = 'concepts of generated captions, counted by one process and by several'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument(
        '--captions', type=int, default=500_000, help='to generate (default: %(default)s)'
    )
    parser.add_argument(
        '--processes', type=int, nargs='+', default=[1, 2], help='a row each (default: 1 2)'
    )
    parser.add_argument('--kind', choices=KINDS, default='words')
    parser.add_argument('--min-count', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--keep',
        type=Path,
        metavar='FILE',
        help='write the captions here (.jsonl or .txt) and keep them; a file that is there already '
        'is read as it is',
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / 'captions.jsonl'
        if not path.exists():
            start = now()
            path.parent.mkdir(parents=True, exist_ok=True)
            size = write_captions(GeneratedCaptions(args.captions, args.seed), path)
            print(f'{path.name}: {size / 1e6:.0f} MB, generated in {now() - start:.0f} s')
        print(f'{path.name}, {len(os.sched_getaffinity(0))} CPU cores')
        rows = []
        for processes in args.processes:
            print(f'  measuring {processes} processes ...', flush=True)
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as fresh:
                job = fresh.submit(build_pool, str(path), args.kind, args.min_count, processes)
                rows.append(job.result())
    if any(row['pool'] != rows[0]['pool'] for row in rows):
        raise RuntimeError('the pools differ.')
    print('\n' + table(rows))
    pool = rows[0].pop('pool')
    print(f'\n{rows[0]["concepts"]} concepts, {len(pool)} kept; the same in every row')
    return dict(rows=[{key: row[key] for key in row if key != 'pool'} for row in rows])


def build_pool(path: str, kind: str, min_count: int, processes: int) -> dict[str, Any]:
    """Build a pool here.

    Returns:
        ``processes``, ``seconds``, ``cpu_seconds``, ``captions``, ``concepts`` (their number) and
        ``pool``, a list of concepts with their counts.
    """
    start, used = now(), _cpu_seconds()
    counts = count_concepts(CaptionFiles([path]), make_backend(), kind, processes)
    pool = list(counts.keep(min_count).items())
    return dict(
        processes=processes,
        seconds=now() - start,
        cpu_seconds=_cpu_seconds() - used,
        captions=counts.captions,
        concepts=len(counts.counts),
        pool=pool,
    )


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, with what 3 million captions would take at the same rate."""
    head = ['processes', 'captions', 's', 'CPU s', 'captions/s', 'times as fast']
    head.append('s for 3 million, extrapolated')
    lines = [head, ['---:'] * len(head)]
    for row in rows:
        rate = row['captions'] / row['seconds']
        lines.append(
            [
                str(row['processes']),
                str(row['captions']),
                f'{row["seconds"]:.1f}',
                f'{row["cpu_seconds"]:.1f}',
                f'{rate:.0f}',
                f'{rows[0]["seconds"] / row["seconds"]:.2f}',
                f'{3e6 / rate:.0f}',
            ]
        )
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)
