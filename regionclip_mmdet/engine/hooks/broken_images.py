# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How many broken images a run has skipped, in its log."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..ranks import of_all_ranks
from .dataset_check import innermost


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Writes the scalar ``train/images_skipped``: those of all processes since the run began.

    Counts what datasets with ``skip_broken`` count (``BrokenImagePolicy.num_broken``); workers load
    ahead, so they may be a few batches further. A resumed run begins at 0.

    Args:
        interval: Iterations between two counts.
    """

    # before the logger
    priority = 'NORMAL'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count, every ``interval`` iterations and after the last one."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            parts = innermost(runner.train_dataloader.dataset)
            skipped = sum(getattr(part, 'num_broken', 0) for part in parts)
            total = sum(of_all_ranks(skipped))
            runner.message_hub.update_scalar('train/images_skipped', total)
