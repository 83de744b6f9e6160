# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Accumulated batches are not one large batch to a loss that contrasts the images of a batch."""

from __future__ import annotations

import logging

from mmdet.registry import HOOKS
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from .once import OnceHook


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
        """Look for such losses, and log a warning."""
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if accumulated <= 1:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        names = [
            f'{name} ({type(module).__name__})' if name else type(module).__name__
            for name, module in model.named_modules()
            if getattr(module, 'contrasts_batch', False) and getattr(module, 'loss_weight', 1) > 0
        ]
        if not names:
            return
        print_log(
            f'{accumulated} batches are accumulated into an update, but {", ".join(names)} '
            f'contrasts the pairs of each batch alone, not those of all {accumulated}: this is not '
            f'the training that a batch {accumulated} times as large would be. For more pairs at a '
            'time: more images per batch (with_cp=True of backbone and region encoder saves '
            'memory), or more processes.',
            logger='current',
            level=logging.WARNING,
        )
