# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Compare this implementation with cases recorded from the official code, number by number.

    python tools/verify_parity.py FOLDER
    python tools/verify_parity.py FOLDER --only c_ --details
    python tools/verify_parity.py tests/data/golden --list

Every .npz file in the folder is a case: inputs, outputs of the official code and, in its meta, the
seed of its weights, settings and tolerances. Weights are generated under the official names, go
through the checkpoint converter and are loaded into the models that the shipped configs build.
One line per case tells what was compared, the largest differences of the array that is nearest to
its tolerance, and whether all agree. Exit code 1 if any case fails or is of an unknown kind, 2 if
there is none.
"""

import argparse
import sys
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import torch
from mmengine.logging import MMLogger

from regionclip_mmdet.utils.checkout import use_checkout

use_checkout(__file__, 'checks/parity')

from checks.parity import kind_of, open_case, select, verify  # noqa: E402
from checks.parity.case import CaseError  # noqa: E402
from checks.parity.verify import details  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder with .npz files')
    parser.add_argument(
        '--only',
        action='append',
        default=[],
        metavar='PATTERN',
        help="cases whose name begins with this or fits it, e.g. 'b_*_lsj*'; may be repeated",
    )
    parser.add_argument('--list', action='store_true', help='name the cases and their kinds')
    parser.add_argument('--details', action='store_true', help='a line for every array')
    parser.add_argument(
        '--device', default='cpu', help='where models run, e.g. cuda (default: cpu)'
    )
    parser.add_argument('--threads', type=int, help="number of threads (default: torch's choice)")
    return parser.parse_args()


def main() -> int:
    """Run the cases; the exit code."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    # the tolerances are those of float32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        cases = select(args.folder, args.only)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    if args.list:
        return list_cases(cases)
    # the report of every load is of no use here
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        failed = run_cases(cases, args.details, args.device)
    finally:
        logger.setLevel(level)
    print(f'{len(cases) - len(failed)} of {len(cases)} cases pass')
    if failed:
        print(f'failed: {", ".join(failed)}')
    return 1 if failed else 0


def run_cases(cases: dict[str, Path], with_details: bool, device: str) -> list[str]:
    """Run cases, print their lines; the names of those that fail."""
    failed = []
    for number, (name, path) in enumerate(cases.items(), 1):
        if sys.stderr.isatty():
            print(f'{number}/{len(cases)} {name} ...', end='\r', file=sys.stderr, flush=True)
        outcome = verify(path, device)
        print(outcome.line(), flush=True)
        if with_details and outcome.comparison is not None:
            print('\n'.join(details(d) for d in outcome.comparison.differences))
        else:
            print(''.join(f'{line}\n' for line in outcome.failures()), end='', flush=True)
        if not outcome.passed:
            failed.append(name)
    return failed


def list_cases(cases: dict[str, Path]) -> int:
    """Name the cases and what is compared in them; 1 if one is of an unknown kind."""
    unknown = False
    for name, path in cases.items():
        try:
            kind = kind_of(open_case(path))
            text = 'unknown kind' if kind is None else kind.WHAT
        except CaseError as error:
            kind, text = None, str(error)
        unknown = unknown or kind is None
        print(f'{name:<30} {text}')
    return int(unknown)


if __name__ == '__main__':
    sys.exit(main())
