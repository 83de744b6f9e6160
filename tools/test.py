# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Test a checkpoint: run the config's test loop and print its metrics.

    python tools/test.py CONFIG CHECKPOINT
    python tools/test.py CONFIG CHECKPOINT --show-dir drawn
    python tools/test.py CONFIG CHECKPOINT --tta

Arguments are those of mmdet's own tool.
"""

import argparse

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from regionclip_mmdet.compat import end_distributed_run, prepare_launch, warn_of_unusable_gpu
from regionclip_mmdet.engine.test_time_views import use_views
from regionclip_mmdet.engine.tool_arguments import (
    add_run_arguments,
    parse_run_arguments,
    read_config,
)
from regionclip_mmdet.evaluation import DumpPredictions


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--work-dir',
        help="folder for logs and metrics; default: the config's work_dir, else "
        'work_dirs/NAME_OF_CONFIG',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', help='write images with drawn predictions to this folder of the work dir'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds that --show waits per image'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: by default the image and its mirror image, merged; other '
        "views and another merging are the config's tta_pipeline and tta_model",
    )
    add_run_arguments(parser, 'test_dataloader.batch_size=2')
    args = parse_run_arguments(parser)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        parser.error('--out: the file must end with .pkl or .pickle')
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the command line to it."""
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        cfg = trigger_visualization_hook(cfg, args)
    if args.tta:
        use_views(cfg)
    return cfg


def main() -> None:
    """Build the runner and test."""
    args = parse_args()
    warn_of_unusable_gpu()
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(args)
    prepare_launch(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpPredictions(out_file_path=args.out))
    runner.test()
    end_distributed_run()


if __name__ == '__main__':
    main()
