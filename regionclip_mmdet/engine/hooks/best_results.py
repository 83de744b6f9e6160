# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``save_best`` for our metrics: more is better, and a name they do not have is refused early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..evaluated import result_names


class BestResults(CheckpointHook):
    """mmengine's hook, whose ``save_best`` knows the results of our metrics.

    A name that they do not have is refused at the start; where a metric does not tell its names
    before, at the first validation.
    """

    # Parts of the names of our results; mmengine has no rule for them.
    _default_greater_keys: ClassVar[list[str]] = [
        *CheckpointHook._default_greater_keys,
        *('bbox_', 'segm_', '_ap', '/ap', 'R50@'),
    ]

    def before_train(self, runner: Runner) -> None:
        """Compare ``save_best`` with what validation will find, as far as that is known.

        Raises:
            ValueError: There is no such result; says which there are.
        """
        super().before_train(runner)
        loop = runner.val_loop if self.save_best else None
        if loop is not None:
            names = result_names(loop.evaluator, loop.dataloader.dataset)
            if names is not None:
                self._require(names)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if self.save_best:
            self._require(list(metrics))
        super()._save_best_checkpoint(runner, metrics)

    def _require(self, names: Sequence[str]) -> None:
        unknown = [name for name in self.save_best if name not in ('auto', *names)]
        if unknown or not names:
            raise ValueError(
                f'save_best={unknown or self.save_best}: validation has no such result; its '
                f'results are {list(names)}.'
            )
