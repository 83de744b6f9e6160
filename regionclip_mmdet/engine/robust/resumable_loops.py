# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training loops after whose resuming nobody can tell that there was a break."""

from __future__ import annotations

from typing import Any

from mmdet.registry import LOOPS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from .checkpoint_choice import choose_start
from .failures import (
    DataWorkerError,
    explain_dead_workers,
    explain_full_disk,
    explain_lost_processes,
)
from .randomness import ITERATION, derive_seed, seed_generators
from .ranks import of_all_ranks
from .resumable_data import (
    KEY,
    ResumableLoader,
    adopt_sampler_seed,
    batches_to_skip,
    describe_position,
)


class DataPositionHook(Hook):
    """Carries a loop's position in the data to and from checkpoints; the loop registers it."""

    def __init__(self, loop: ResumableLoop) -> None:
        self._loop = loop

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[KEY] = self._loop.position(checkpoint['meta'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the position; it is used if the run is resumed, not if only weights are loaded.

        Raises:
            ValueError: The run is to be resumed from weights alone.
        """
        if runner._resume and not {'iter', 'epoch'} <= set(checkpoint.get('meta') or ()):
            raise ValueError(
                'The checkpoint cannot be resumed: it holds weights, but no iteration to go on '
                'from. To start a new run with these weights set load_from=CHECKPOINT and '
                'resume=False (tools/train.py: --cfg-options load_from=CHECKPOINT, no --resume).'
            )
        self._loop.recorded = checkpoint.get(KEY)


class ResumableLoop(BaseLoop):
    """What both loops share.

    Everything random is derived from the run's seed and a position, instead of being the state of
    generators: before iteration ``i`` each process seeds Python's, numpy's and torch's global
    generators from (seed, rank, i), and each sample is loaded with generators seeded from (seed,
    rank, pass, batch, place in the batch). So neither workers that loaded ahead, nor validation,
    nor a break changes anything, and every checkpoint can be continued exactly, by all processes.
    """

    endless: bool
    dataloader_iterator: Any

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        *args: Any,
        allow_changed_data: bool = False,
        **kwargs: Any,
    ) -> None:
        choose_start(runner)
        BaseLoop.__init__(self, runner, dataloader)  # builds it from a config
        super().__init__(runner, ResumableLoader(self.dataloader), *args, **kwargs)
        self.allow_changed_data = allow_changed_data
        self.recorded: dict | None = None
        # Batches consumed = _skipped + (_iter - _counted_from), in this pass or, endless, in all.
        self._skipped = 0
        self._counted_from = 0
        _warn_of_memory_between_samples(runner, self.dataloader.dataset)
        runner.register_hook(DataPositionHook(self))

    @property
    def batches_behind(self) -> int:
        """Batches that this process has finished, in this pass or, by iterations, in all."""
        return self._skipped + self._iter - self._counted_from

    def position(self, meta: dict) -> dict:
        """Position in the data for a checkpoint whose ``meta`` names an iteration and an epoch."""
        batch = self.batches_behind + meta['iter'] - self._iter
        if meta['epoch'] != self._epoch:  # written at the end of a pass, for the next one
            batch = 0
        return describe_position(self.dataloader, type(self).__name__, meta['epoch'], batch)

    def _find_position(self) -> None:
        """Decide how many batches are behind; called once, after a checkpoint was loaded."""
        self._counted_from = self._iter
        self._skipped = 0
        if self._iter == 0:
            return
        log = self.runner.logger
        record = self.recorded
        if record is None:
            self._skipped = self._consumed_by_count()
            log.warning(
                'The checkpoint holds no position in the data: it was written by another train '
                f'loop. Going on after {self._skipped} batches, in the order of the present seed.'
            )
            return
        adopt_sampler_seed(self.dataloader, record)
        try:
            now = describe_position(self.dataloader, type(self).__name__, self._epoch, 0)
            self._skipped, inexact = batches_to_skip(record, now)
        except RuntimeError as error:
            if not self.allow_changed_data:
                raise
            inexact = f'{error} allow_changed_data is set: a new pass over the data begins.'
        if inexact is not None:
            log.warning(inexact)
        log.info(f'Resuming at iteration {self._iter}, after {self._skipped} batches of this pass.')

    def _consumed_by_count(self) -> int:
        return self._iter

    def _check_ranks(self) -> None:
        """Refuse what would have processes wait for each other."""

    def _batches(self) -> Any:
        """Batches from the present position on."""
        epoch = 0 if self.endless else self._epoch
        return self.dataloader.batches(self.runner.seed, epoch, self._skipped, self.endless)

    def _seed_iteration(self) -> None:
        seed_generators(derive_seed(ITERATION, self.runner.seed, get_rank(), self._iter))

    def _validate_if_due(self, done: int) -> None:
        self._decide_current_val_interval()
        last = self._max_iters if self.endless else self._max_epochs
        if (
            self.runner.val_loop is not None
            and done >= self.val_begin
            and (done % self.val_interval == 0 or done == last)
        ):
            self.runner.val_loop.run()

    def run(self) -> nn.Module:
        """Train to the end.

        Returns:
            The model.

        Raises:
            RuntimeError: A checkpoint was resumed whose data are not the present ones.
            ValueError: Processes have different numbers of batches in an epoch.
            DataWorkerError: A process that loads data died.
            LostProcessError: Another process of the run is gone.
            OSError: Of a full disk, with the work dir.
        """
        try:
            with (
                explain_dead_workers(self.dataloader),
                explain_lost_processes(lambda: self._iter + 1),
                explain_full_disk(self.runner.work_dir),
            ):
                self.runner.call_hook('before_train')
                self._check_ranks()
                self._find_position()
                self._run()
                self.runner.call_hook('after_train')
        except DataWorkerError:
            self.runner.call_hook('after_data_workers_died')
            raise
        finally:
            self.dataloader_iterator = None
            self.dataloader.close()
        return self.runner.model


@LOOPS.register_module()
class ResumableIterTrainLoop(ResumableLoop, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, which resumes exactly.

    A finite sampler is begun again, with the next epoch, where it ends; its last batch of a pass
    may be smaller, unless ``drop_last``. mmengine's ``InfiniteSampler`` has no such border.

    A checkpoint is written before the validation of the same iteration; resuming runs that
    validation first, so that the best score is not missed.

    Args:
        runner: The runner.
        dataloader: Training data; config or loader.
        *args: As in mmengine: ``max_iters``, ``val_begin``, ``val_interval``, ...
        allow_changed_data: True begins a new pass over the data when a checkpoint is resumed
            whose data, sampler or loop were others; False refuses.
        **kwargs: As in mmengine.
    """

    endless = True

    def _run(self) -> None:
        self.runner.call_hook('before_train_epoch')
        if self._iter > 0:
            self._validate_if_due(self._iter)
        if self._iter < self._max_iters:
            self.dataloader_iterator = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            data_batch = next(self.dataloader_iterator)
            self._seed_iteration()
            self.run_iter(data_batch)
            self._validate_if_due(self._iter)
        self.runner.call_hook('after_train_epoch')


@LOOPS.register_module()
class ResumableEpochTrainLoop(ResumableLoop, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which resumes exactly, within an epoch too.

    The last batch of an epoch may be smaller, unless ``drop_last``. A checkpoint written after the
    last batch of an epoch by iteration leads to the end of that epoch (hooks, validation); one
    written by epoch leads to the validation after it, then to the next.

    Args:
        runner: The runner.
        dataloader: Training data; config or loader.
        *args: As in mmengine: ``max_epochs``, ``val_begin``, ``val_interval``, ...
        allow_changed_data: See ``ResumableIterTrainLoop``.
        **kwargs: As in mmengine.
    """

    endless = False

    def _consumed_by_count(self) -> int:
        return max(self._iter - self._epoch * len(self.dataloader), 0)

    def _check_ranks(self) -> None:
        batches = of_all_ranks(len(self.dataloader))
        if len(set(batches)) > 1:
            raise ValueError(
                f'The processes have different numbers of batches in an epoch: {batches}. Those '
                'with more would wait for ever for those with fewer. Set '
                'train_dataloader.sampler.round_up=True, or train by iterations '
                '(ResumableIterTrainLoop).'
            )

    def _run(self) -> None:
        if self._epoch > 0 and self._skipped == 0:
            self._validate_if_due(self._epoch)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due(self._epoch)

    def run_epoch(self) -> None:
        """Train the rest of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if self._skipped < len(self.dataloader):
            for index, data_batch in enumerate(self._batches(), start=self._skipped):
                self._seed_iteration()
                self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._skipped = 0
        self._counted_from = self._iter


def _warn_of_memory_between_samples(runner: Runner, dataset: Any) -> None:
    """Name transforms whose result depends on samples loaded before, which no position tells."""
    while dataset is not None:
        for transform in _transforms(dataset):
            if hasattr(transform, 'results_cache'):
                runner.logger.warning(
                    f'{type(transform).__name__} mixes in images that a worker loaded before, so '
                    'a resumed run will not see exactly the same images. The variant without '
                    'cache, with MultiImageMixDataset, will.'
                )
        dataset = getattr(dataset, 'dataset', None)


def _transforms(dataset: Any) -> list:
    pipeline = getattr(dataset, 'pipeline', None) or []
    return list(getattr(pipeline, 'transforms', pipeline))
