# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Warnings of updates that see more or fewer images than a schedule or a loss was made for."""

from __future__ import annotations

import logging

from mmdet.registry import HOOKS
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..robust.once import OnceHook
from ..robust.ranks import unwrapped_model


@HOOKS.register_module()
class BatchSizeCheckHook(OnceHook):
    """Warns of a batch size that the config's schedule was not made for.

    The usual way into it is to run on one GPU what was made for eight: the learning rate is then
    eight times too high and the run eight times too short. Compares images per update (of all
    processes and accumulated batches) with ``auto_scale_lr.base_batch_size``; silent without it,
    and if ``auto_scale_lr.enable`` scales the rate. Part of the default runtime config.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        scaling = runner.cfg.get('auto_scale_lr') or {}
        loader = runner.cfg.get('train_dataloader') or {}
        base, batch = scaling.get('base_batch_size'), loader.get('batch_size')
        if not base or not batch or scaling.get('enable'):
            return
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        images = batch * runner.world_size * accumulated
        if images != base:
            _warn(
                f'An update sees {images} images ({runner.world_size} processes x {batch} x '
                f'{accumulated} accumulated), but the schedule was made for {base}. '
                f'python tools/scale_schedule.py CONFIG --batch-size {images} computes learning '
                'rate, iterations, milestones and warm-up for it.'
            )


@HOOKS.register_module()
class AccumulationCheckHook(OnceHook):
    """Warns that accumulated batches are contrasted each for itself.

    The image-text losses compare an image with all captions of its batch, over all processes: more
    pairs, more to be told apart. ``optim_wrapper.accumulative_counts`` makes updates rarer, not
    their batches larger. Modules that compare so say it by ``contrasts_batch``. Part of the default
    runtime config.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if accumulated <= 1:
            return
        model = unwrapped_model(runner)
        names = [
            f'{name} ({type(module).__name__})' if name else type(module).__name__
            for name, module in model.named_modules()
            if getattr(module, 'contrasts_batch', False) and getattr(module, 'loss_weight', 1) > 0
        ]
        if names:
            _warn(
                f'{accumulated} batches are accumulated into an update, but {", ".join(names)} '
                f'contrasts the pairs of each batch alone, not those of all {accumulated}: this is '
                f'not the training that a batch {accumulated} times as large would be. For more '
                'pairs at a time: more images per batch (with_cp=True of backbone and region '
                'encoder saves memory), or more processes.'
            )


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
