# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the commands that time a step with and without each speed-up share."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import Any

from regionclip_mmdet.apis.command_line import positive

from ..measure import measure
from ..report import Result, format_report
from ..switches import SWITCHES, ladder
from ..timing import WARM_UPS
from ..workloads import Settings


def add_step_arguments(parser: argparse.ArgumentParser, workload: str) -> None:
    """Sizes, device and choice of speed-ups.

    Args:
        parser: Of the command.
        workload: Key of ``WORKLOADS``.
    """
    parser.add_argument('--arch', help='CLIP ResNet (default: RN50)')
    parser.add_argument('--image-size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--batch-size', type=int, help='images')
    parser.add_argument('--proposals', type=int, help='regions per image')
    parser.add_argument('--names', type=int, help='size of the vocabulary or concept pool')
    parser.add_argument(
        '--no-localizer',
        dest='localizer',
        action='store_false',
        default=None,
        help='proposals are there already, in every row',
    )
    parser.add_argument('--device', help='cpu (default) or cuda')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'])
    parser.add_argument(
        '--repeats', type=positive(int), default=5, help='timed steps per row (default: 5)'
    )
    parser.add_argument(
        '--warm-ups',
        type=int,
        default=WARM_UPS,
        help='steps before the first that counts (default: %(default)s)',
    )
    parser.add_argument('--threads', type=int, default=0, help="torch's threads on a CPU")
    parser.add_argument(
        '--flops',
        action='store_true',
        help='count the operations of the last row, and say how many a second that is',
    )
    parser.add_argument(
        '--peak-tflops',
        type=float,
        metavar='NUMBER',
        help="the device's 10^12 operations a second by its data sheet, for the share in use",
    )
    parser.add_argument(
        '--only',
        nargs='*',
        metavar='NAME',
        choices=[name for name, (_, users, _) in SWITCHES.items() if workload in users],
        help='compare nothing but "none" with exactly these: %(choices)s',
    )


def run_steps(workload: str, defaults: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Measure row by row and print the table.

    Args:
        workload: Key of ``WORKLOADS``.
        defaults: Sizes where the command line names none.
        args: The command line.

    Returns:
        ``settings`` and ``rows``.
    """
    given = {k: v for k, v in vars(args).items() if k in asdict(defaults) and v is not None}
    if 'image_size' in given:
        given['image_size'] = tuple(given['image_size'])
    settings = replace(defaults, **given)
    without = []
    if settings.objectness == 'none':
        without.append('early_exit')
    if not settings.localizer:
        without.append('proposals')
    rungs = [(), tuple(args.only)] if args.only is not None else ladder(workload, without)
    print(f'{workload}: {settings}')
    count_flops = args.flops or args.peak_tflops is not None
    results = []
    for number, rung in enumerate(rungs, start=1):
        print(f'  measuring {" + ".join(rung) or "none"} ...', flush=True)
        counted = count_flops and number == len(rungs)
        seen = measure(workload, settings, rung, args.repeats, args.threads, counted, args.warm_ups)
        results.append(Result(rung, seen))
    print('\n' + format_report(results))
    print(
        f's: median of {args.repeats} steps after {args.warm_ups} to warm up, nothing in between. '
        'Stages: medians of as\nmany further steps; a GPU is waited for at each border, so that '
        'they may add up to more.'
    )
    for name in rungs[-1]:
        print(f'{name}: {SWITCHES[name][0]}')
    last = results[-1].measurement
    print(f'\n{settings.batch_size / last.total:.3g} images/s in the last row')
    if last.flops is not None:
        rate = last.flops / last.total / 1e12
        share = f', {rate / args.peak_tflops:.0%} of {args.peak_tflops}' if args.peak_tflops else ''
        print(
            f'{last.flops / settings.batch_size / 1e12:.3g} TFLOP per image (convolutions and '
            f'matrix products), {rate:.3g} TFLOP/s{share}'
        )
    rows = [
        dict(
            switched_on=list(result.switched_on),
            total=result.measurement.total,
            parts=result.measurement.parts,
            memory_mib=result.measurement.memory_mib,
            regions=result.measurement.regions,
            flops=result.measurement.flops,
        )
        for result in results
    ]
    return dict(settings=asdict(settings), rows=rows)
