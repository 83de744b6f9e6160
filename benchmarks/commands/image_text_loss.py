# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Memory and time of the image-text losses in one process of many, features only.

    python tools/benchmark.py image-text-loss
    python tools/benchmark.py image-text-loss --pairs 16384 --processes 8 --forms 'own rows'

Every number comes from a fresh process that takes the part of the first of so many: its own pairs
against those of all. Nothing is sent; the others' embeddings lie in memory, and are not counted.
Memory is the peak of the first step above what was in use before it: of resident memory on a CPU,
of tensors on a GPU. Time is the median of a forward and backward pass. Gradients are compared
in real processes (gloo on this machine), averaged as data parallelism does.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from regionclip_mmdet.apis.command_line import positive

from ..pair_losses import FORMS, largest_differences, measure_rank

HELP = 'image-text losses over many processes: memory and time of one of them'
# pairs of real processes whose gradients are compared
CHECKED = ((512, 512), (700, 0, 324))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument(
        '--pairs',
        type=int,
        nargs='+',
        default=[1024, 4096, 16384],
        help='pairs of all processes together (default: %(default)s)',
    )
    parser.add_argument(
        '--processes', type=int, nargs='+', default=[8, 32], help='(default: %(default)s)'
    )
    parser.add_argument(
        '--forms', nargs='+', choices=FORMS, default=list(FORMS), help='(default: all)'
    )
    parser.add_argument('--width', type=int, default=1024, help='of embeddings (default: 1024)')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--repeats', type=positive(int), default=5, help='timed steps (default: 5)')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads on a CPU")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    odd = [(n, p) for n in args.pairs for p in args.processes if n % p]
    if odd:
        raise ValueError(f'{odd[0][0]} pairs cannot be spread evenly over {odd[0][1]} processes.')
    rows = []
    for pairs in args.pairs:
        for processes in args.processes:
            costs = {}
            for form in args.forms:
                print(f'  measuring {pairs} pairs, {processes} processes: {form} ...', flush=True)
                costs[form] = measure_rank(
                    form, pairs, processes, args.width, args.repeats, args.threads, args.device
                )
            rows.append(dict(pairs=pairs, processes=processes, costs=costs))
    print('\n' + table(rows, args.forms))
    for form in args.forms:
        print(f'{form}: {FORMS[form][0]}')
    differences = {}
    print('\nLargest difference of a gradient from one process with all pairs, of the largest:')
    for sizes in CHECKED:
        found = largest_differences(sizes, args.width, args.forms)
        differences[' + '.join(map(str, sizes))] = found
        for form, value in found.items():
            print(f'  {" + ".join(map(str, sizes))} pairs in real processes, {form}: {value:.1e}')
    for row in rows:
        row['costs'] = {form: asdict(cost) for form, cost in row['costs'].items()}
    return dict(width=args.width, device=args.device, rows=rows, differences=differences)


def table(rows: list[dict[str, Any]], forms: list[str]) -> str:
    """A Markdown table: MiB and seconds of every form, one row per size."""
    head = ['pairs', 'processes', *(f'{form}: MiB | s' for form in forms)]
    lines = ['| ' + ' | '.join(head) + ' |', '|' + ' ---: |' * (2 + 2 * len(forms))]
    for row in rows:
        cells = [str(row['pairs']), str(row['processes'])]
        for form in forms:
            cost = row['costs'][form]
            cells += [f'{cost.memory_mib:.0f}', f'{cost.seconds:.3g}']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)
