# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What happens when a loss is NaN or infinite: before it reaches the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_rank
from mmengine.runner import Runner
from torch import Tensor

from .once import OnceHook
from .ranks import unwrapped_model


class NonFiniteLossError(RuntimeError):
    """A loss, or a weight about to be saved, is NaN or infinite."""


@HOOKS.register_module()
class NonFiniteLossHook(OnceHook):
    """Stops a run at the first loss that is not finite, or leaves out such updates and counts them.

    The loss is looked at before its gradients are, so the weights stay what they were. All
    processes decide together: where one has such a loss, none makes the update. In float16, a loss
    scale that makes gradients overflow is no matter of this hook: the loss itself is finite then,
    and mmengine's wrapper lowers the scale. If weights are not finite in spite of all (from a
    gradient, say), no checkpoint is written over the last good one.

    Args:
        skip: How many such updates in a row may be left out; 0 stops at the first one. The number
            left out so far is logged as ``updates_left_out``.
    """

    priority = 'VERY_HIGH'

    def __init__(self, skip: int = 0) -> None:
        if skip < 0:
            raise ValueError(f'skip counts updates, it cannot be {skip}.')
        self.skip = skip
        self.left_out = 0
        self._in_a_row = 0
        self._batch: Any = None
        self._terms: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Look at every loss on its way to the optimizer.

        Raises:
            ValueError: Updates are to be left out, but gradients of several batches make one.
        """
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if self.skip and counts > 1:
            raise ValueError(
                f'NonFiniteLossHook(skip={self.skip}) cannot leave out one of the {counts} batches '
                'of an update: optim_wrapper.accumulative_counts must be 1, or skip 0.'
            )
        model = unwrapped_model(runner)
        parse_losses = model.parse_losses
        update_params = runner.optim_wrapper.update_params

        def remember(losses: Mapping) -> Any:
            self._terms = dict(losses)
            return parse_losses(losses)

        def update_if_finite(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            if self._may_update(runner, loss):
                update_params(loss, *args, **kwargs)
            else:
                runner.optim_wrapper.zero_grad()

        def restore() -> None:
            model.parse_losses = parse_losses
            runner.optim_wrapper.update_params = update_params

        self._restore = restore
        model.parse_losses = remember
        runner.optim_wrapper.update_params = update_if_finite

    def after_train(self, runner: Runner) -> None:
        self._restore()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._batch = data_batch

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.left_out:
            runner.message_hub.update_scalar('train/updates_left_out', self.left_out)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite.

        Raises:
            NonFiniteLossError: Naming the first such tensor.
        """
        for name, tensor in checkpoint['state_dict'].items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise NonFiniteLossError(
                    f'After iteration {runner.iter + 1}, {name} holds NaN or infinity. No '
                    'checkpoint was written; the one before is whole. ' + _ADVICE
                )

    def _may_update(self, runner: Runner, loss: Tensor) -> bool:
        bad = (~loss.detach().isfinite().all()).float()
        here = bool(bad)
        all_reduce(bad, 'max')
        if not bool(bad):
            self._in_a_row = 0
            return True
        self.left_out += 1
        self._in_a_row += 1
        message = f'Iteration {runner.iter + 1}: {self._describe(here)}'
        if self._in_a_row > self.skip:
            in_a_row = f' It is number {self._in_a_row} in a row.' if self.skip else ''
            raise NonFiniteLossError(f'{message}{in_a_row} {_ADVICE}')
        runner.logger.warning(f'{message} This update is left out ({self.left_out} so far).')
        return False

    def _describe(self, here: bool) -> str:
        if not here:
            return f'the loss of another process is not finite (this is rank {get_rank()}).'
        terms = [
            f'{name} = {float(value):g}'
            for name, value in ((n, _sum(v)) for n, v in self._terms.items())
            if 'loss' in name and value is not None and not bool(value.isfinite())
        ]
        images = _image_paths(self._batch)
        return (
            f'{", ".join(terms) or "the loss"} is not finite. '
            f'Images of the batch: {", ".join(images) or "not named"}.'
        )


_ADVICE = (
    'Try: a lower learning rate or a longer warm-up; gradient clipping; bfloat16 instead of '
    "float16; looking at these images. custom_hooks' dict(type='NonFiniteLossHook', skip=10) "
    'leaves such updates out.'
)


def _sum(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach().float().sum()
    if isinstance(value, Sequence) and all(isinstance(v, Tensor) for v in value):
        return torch.stack([v.detach().float().sum() for v in value]).sum() if value else None
    return None


def _image_paths(batch: Any) -> list[str]:
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    paths = [getattr(sample, 'img_path', None) for sample in samples or ()]
    return [str(path) for path in paths if path is not None]
