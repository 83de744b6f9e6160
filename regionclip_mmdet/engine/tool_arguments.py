# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Arguments that training and testing tools share: mmdet's."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction


def add_run_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options`` and what launchers need.

    Args:
        parser: The tool's, with an argument ``config``.
        example: ``KEY=VALUE`` for the help.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help=f'override settings, for example {example}; lists as key="[a,b]" without blanks',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run are started; pytorch: by torchrun',
    )
    # torch.distributed.launch passes --local-rank, older versions --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def parse_run_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; a config that is not there ends the program with a message."""
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'there is no config file {args.config}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def read_config(args: argparse.Namespace) -> Config:
    """The config with launcher, options and work dir of the command line.

    Args:
        args: With ``config``, ``launcher``, ``cfg_options`` and ``work_dir``, which is by default
            the config's, else ``work_dirs/NAME_OF_CONFIG``.
    """
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg
