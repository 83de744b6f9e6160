# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A schedule is made for a number of images per update; with another one it is another schedule."""

from __future__ import annotations

import logging

from mmdet.registry import HOOKS
from mmengine.logging import print_log
from mmengine.runner import Runner

from .once import OnceHook


@HOOKS.register_module()
class BatchSizeCheckHook(OnceHook):
    """Warns of a batch size that the config's schedule was not made for.

    The usual way into it is to run on one GPU what was made for eight: the learning rate is then
    eight times too high and the run eight times too short. Compares images per update (of all
    processes and accumulated batches) with ``auto_scale_lr.base_batch_size``; silent without it,
    and if ``auto_scale_lr.enable`` asks for another rate. Part of the default runtime config.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare, and log a warning."""
        scaling = runner.cfg.get('auto_scale_lr') or {}
        loader = runner.cfg.get('train_dataloader') or {}
        base, batch = scaling.get('base_batch_size'), loader.get('batch_size')
        if not base or not batch or scaling.get('enable'):
            return
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        images = batch * runner.world_size * accumulated
        if images != base:
            print_log(
                f'An update sees {images} images ({runner.world_size} processes x {batch} x '
                f'{accumulated} accumulated), but the schedule was made for {base}. '
                f'python tools/scale_schedule.py CONFIG --batch-size {images} computes learning '
                'rate, iterations, milestones and warm-up for it.',
                logger='current',
                level=logging.WARNING,
            )
