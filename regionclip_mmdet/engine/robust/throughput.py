# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How many images a run trains on per second, and how long it waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor

from .once import OnceHook


@HOOKS.register_module()
class ThroughputHook(OnceHook):
    """Writes the scalars ``train/images_per_second`` and ``train/data_wait``.

    Of the iterations since the scalars were last written, and of all processes together:
    ``images_per_second`` counts everybody's images; ``data_wait`` is the share of the time in
    which the loop waited for a batch, the mean over processes. What happens between two iterations
    (checkpoints, validation, visualization, the log itself) is left out, unlike in mmengine's
    ``time`` and ``data_time``. The first iteration of a run, in which workers start and kernels are
    chosen, is left out as well.

    Args:
        interval: Iterations between two lines; None takes the ``LoggerHook``'s.
    """

    # after the iteration's work, before the logger
    priority = 'NORMAL'

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval
        self._clock = _Clock()
        self._every = 1
        self._started = self._waited = 0.0
        self._forget()

    def _forget(self) -> None:
        # images, seconds, seconds of them in which the loop waited
        self._sums = [0.0, 0.0, 0.0]

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        if self not in runner.hooks:
            return
        runner.register_hook(self._clock, priority='LOWEST')
        loggers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._every = self.interval or (loggers or [50])[0]

    def before_train(self, runner: Runner) -> None:
        self._clock.now = None
        self._forget()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._started = time.perf_counter()
        ready = self._clock.now
        self._waited = 0.0 if ready is None else self._started - ready

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self._clock.now is not None:
            seconds = time.perf_counter() - self._started + self._waited
            added = (images_in(data_batch), seconds, self._waited)
            self._sums = [total + more for total, more in zip(self._sums, added, strict=True)]
        # the loop's own count: all processes come here together
        if not self.every_n_train_iters(runner, self._every):
            return
        sums = torch.tensor(self._sums, dtype=torch.float64)
        all_reduce(sums)
        images, seconds, waited = sums.tolist()
        self._forget()
        if seconds > 0:
            rate = images * get_world_size() / seconds
            runner.message_hub.update_scalar('train/images_per_second', rate)
            runner.message_hub.update_scalar('train/data_wait', waited / seconds)


class _Clock(Hook):
    """Knows when the last iteration, or the validation after it, was over for all hooks."""

    def __init__(self) -> None:
        self.now: float | None = None

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.now = time.perf_counter()

    def after_val(self, runner: Runner) -> None:
        if self.now is not None:
            self.now = time.perf_counter()


def images_in(data_batch: Any) -> int:
    """Number of images of a batch as a data loader gives it."""
    if isinstance(data_batch, Mapping) and 'inputs' in data_batch:
        data_batch = data_batch['inputs']
    return len(data_batch) if isinstance(data_batch, (list, tuple, Tensor)) else 0
