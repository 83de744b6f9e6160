# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Compute learning rate, iterations, milestones and warm-up for another batch size.

    python tools/scale_schedule.py CONFIG --batch-size 8 --gpus 2
    python tools/scale_schedule.py CONFIG --batch-size 16 --gpus 1 --accumulate 4 --out mine.py

Prints words for --cfg-options of tools/train.py, so that this works, too:

    python tools/train.py CONFIG --cfg-options $(python tools/scale_schedule.py CONFIG \
        --batch-size 4 --gpus 1 --plain)

With k times the images per update the rate is multiplied by k; all that is counted in iterations
is divided by k, so that the model sees the same number of images.
"""

import argparse
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from mmengine.config import Config

from regionclip_mmdet.fileio import write_text
from regionclip_mmdet.recipes import as_cfg_options, as_child_config, scale_schedule


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config file')
    parser.add_argument(
        '--batch-size', type=int, required=True, help='images per update, of all processes'
    )
    parser.add_argument('--gpus', type=int, help='processes; sets the batch size of each')
    parser.add_argument('--accumulate', type=int, default=1, help='batches per update')
    parser.add_argument(
        '--plain', action='store_true', help='without quotes, for use inside $( ) in a shell'
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE.py', help='write a config that inherits CONFIG'
    )
    args = parser.parse_args()
    if not args.config.is_file():
        parser.error(f'there is no config file {args.config}')
    if args.out is not None and args.out.suffix != '.py':
        parser.error(f'--out {args.out}: the name must end with .py')
    return args


def main() -> None:
    """Compute, print, write."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    try:
        settings = scale_schedule(cfg, args.batch_size, args.accumulate, args.gpus)
    except ValueError as error:
        raise SystemExit(f'{args.config}: {error}.') from None
    options = as_cfg_options(settings)
    print(options.replace("'", '') if args.plain else options)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, as_child_config(str(args.config.resolve()), settings, cfg))


if __name__ == '__main__':
    main()
