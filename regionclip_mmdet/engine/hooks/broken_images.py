# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How many broken images a run has skipped, in its log."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object
from mmengine.runner import Runner

from ..robust.once import OnceHook
from ..robust.ranks import of_all_ranks
from .dataset_check import unwrap_datasets

MAX_NAMED = 100


@HOOKS.register_module()
class BrokenImagesHook(OnceHook):
    """Writes ``train/images_skipped``, the number of all processes since the run began, and names.

    Counts what datasets with ``skip_broken`` count (``BrokenImagePolicy.num_broken``); workers load
    ahead, so they may be a few batches further. A resumed run begins at 0.

    The ids of skipped images, of shards SHARD/KEY, are logged by the main process for all of them:
    mmengine shows warnings of the main process alone. They come from the samples that were drawn
    instead (``instead_of`` in their metainfo); each is named once, the first 100 of a run.

    Args:
        interval: Number of iterations between two counts.
    """

    # before the logger
    priority = 'NORMAL'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._found: list[str] = []
        self._named: set[str] = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        for sample in samples or ():
            broken = sample.metainfo.get('instead_of')
            if broken is not None:
                self._found.append(str(broken))
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            parts = unwrap_datasets(runner.train_dataloader.dataset)
            skipped = sum(getattr(part, 'num_broken', 0) for part in parts)
            total = sum(of_all_ranks(skipped))
            runner.message_hub.update_scalar('train/images_skipped', total)
            if total:  # the same on all processes
                self._name(runner)

    def _name(self, runner: Runner) -> None:
        found = sorted({name for names in all_gather_object(self._found) for name in names})
        self._found = []
        new = [name for name in found if name not in self._named]
        shown = new[: MAX_NAMED - len(self._named)]
        self._named.update(shown)
        if shown:
            last = ' Further ones are counted, not named.' if len(self._named) == MAX_NAMED else ''
            runner.logger.warning(
                f'Broken images, for which others were trained, of all processes: '
                f'{", ".join(shown)}.{last}'
            )
