# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Measure on this machine what docs/benchmarks.md says.

python tools/benchmark.py COMMAND --help
"""

import argparse
import platform
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet

# isort: split
import torch

from regionclip_mmdet.compat import warn_of_unusable_gpu
from regionclip_mmdet.fileio import write_json
from regionclip_mmdet.utils.checkout import use_checkout

use_checkout(__file__, 'benchmarks')

from benchmarks.commands import COMMANDS  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=raw
        )
        module.add_arguments(sub)
        sub.add_argument('--out', type=Path, help='write settings and numbers to this JSON file')
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    warn_of_unusable_gpu()
    threads = getattr(args, 'threads', 0) or torch.get_num_threads()
    print(
        f'regionclip_mmdet {regionclip_mmdet.__version__}, torch {torch.__version__}, '
        f'Python {platform.python_version()}, {threads} CPU threads'
        + (f', {torch.cuda.get_device_name()}' if torch.cuda.is_available() else '')
    )
    found = COMMANDS[args.command].run(args)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, found, indent=2)


if __name__ == '__main__':
    main()
