# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Train a model from a config.

    python tools/train.py CONFIG
    torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch --amp

Arguments are those of mmdet's own tool.
"""

import argparse

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from regionclip_mmdet.compat import (
    end_distributed_run,
    is_first_process,
    prepare_launch,
    warn_of_unusable_gpu,
)
from regionclip_mmdet.engine.hooks import StoppedBySignal
from regionclip_mmdet.engine.robust.checkpoint_choice import choose_start
from regionclip_mmdet.engine.robust.work_dir_lock import WorkDirInUseError, held_work_dir
from regionclip_mmdet.engine.tool_arguments import (
    add_run_arguments,
    parse_run_arguments,
    read_config,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, for example configs/quickstart/....py')
    parser.add_argument(
        '--work-dir',
        help="folder for logs and checkpoints; default: the config's work_dir, else "
        'work_dirs/NAME_OF_CONFIG',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision, float16 unless optim_wrapper.dtype=bfloat16 is among '
        '--cfg-options (needs an accelerator)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the images per update, accumulated ones included, over '
        "the config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint; without a value from the latest whole one in the work '
        'dir, and where there is none yet begin with load_from',
    )
    add_run_arguments(parser, 'train_cfg.max_epochs=1 model.test_cfg.rcnn.max_per_img=50')
    return parse_run_arguments(parser)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the command line to it."""
    cfg = read_config(args)
    if args.amp:
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SystemExit(
                f'--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size, so the '
                'batch size its learning rate was made for is unknown.'
            )
        cfg.auto_scale_lr.enable = True
        # mmengine counts the images of one iteration, an update sees those of several
        cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
    if args.resume not in (None, 'auto'):
        cfg.resume, cfg.load_from = True, args.resume
    return cfg


def use_mixed_precision(cfg: Config) -> None:
    """Replace the optimizer wrapper by mmengine's mixed-precision one."""
    from mmengine.device import get_device

    if get_device() == 'cpu':
        raise SystemExit('--amp needs an accelerator, and none is available: leave it out.')
    per_tensor = cfg.optim_wrapper.get('type', '').startswith('PerTensorClip')
    cfg.optim_wrapper.type = ('PerTensorClip' if per_tensor else '') + 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def main() -> None:
    """Build the runner and train."""
    args = parse_args()
    warn_of_unusable_gpu()
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(args)
    try:
        # before anything is written there
        with held_work_dir(cfg.work_dir, is_first_process(cfg.launcher)):
            train(cfg, from_latest=args.resume == 'auto')
    except StoppedBySignal as stop:
        end_distributed_run(stop.code)
        raise
    except WorkDirInUseError as error:
        raise SystemExit(str(error)) from None
    end_distributed_run()


def train(cfg: Config, from_latest: bool) -> None:
    """Build the runner and train.

    Args:
        cfg: Of the run.
        from_latest: Go on from the latest checkpoint, if there is one.
    """
    prepare_launch(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if from_latest:
        load_from = runner._load_from
        runner._resume, runner._load_from = True, None
        choose_start(runner, load_from)
    runner.train()


if __name__ == '__main__':
    main()
