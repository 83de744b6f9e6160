# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A run that is told to end writes a checkpoint first."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import join_path
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...fileio import write_text
from .atomic_checkpoint import BACKEND
from .once import OnceHook
from .ranks import any_rank, raise_on_all_ranks


class StoppedBySignal(SystemExit):  # noqa: N818
    """Training ended because of a signal; ``code`` is 128 + the signal's number, as in shells."""


@HOOKS.register_module()
class SaveOnSignalHook(OnceHook):
    """Ends training after the current iteration, with a checkpoint, when a signal arrives.

    Clusters send SIGTERM some time before SIGKILL, when a job reaches its limit or makes room for
    another. It is enough that one process hears it: all of them look after every iteration whether
    one has. The checkpoint is ``iter_N.pth`` in the folder of the others, not counted among those
    that ``max_keep_ckpts`` keeps. A signal that arrives during validation is obeyed after the
    training iteration that follows: only then are the model's weights those to be saved.

    A signal to the whole job ends the processes that load data, too. Where that leaves training
    without its next batch, each process stops there, after the last iteration that was finished.

    Args:
        signals: Names of the signals.

    Raises:
        ValueError: The system has no signal of that name.
    """

    # after the iteration's own checkpoint
    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM',)) -> None:
        unknown = [name for name in signals if not hasattr(signal, name)]
        if unknown:
            raise ValueError(f'signals: this system has no {", ".join(unknown)}.')
        self.signals = [getattr(signal, name) for name in signals]
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._pid: int | None = None
        self._runner: weakref.ref | None = None
        # weights are about to change or, while validating, may be others: a moving average
        self._busy = False

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('SaveOnSignalHook: signals reach the main thread alone.')
            return
        self.received, self._pid, self._runner = None, os.getpid(), weakref.ref(runner)
        self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train(self, runner: Runner) -> None:
        self._restore()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._busy = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop if any process was told to.

        Raises:
            StoppedBySignal: After the checkpoint was written.
        """
        self._busy = False
        if any_rank(self.received is not None):
            with raise_on_all_ranks():
                path = self._save(runner, runner.iter + 1)
            self._stop(runner, path)

    def before_val_epoch(self, runner: Runner) -> None:
        self._busy = True

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._busy = False

    def after_data_workers_died(self, runner: Runner) -> None:
        """Save and stop, if that was because of the signal; called by our training loops.

        Raises:
            StoppedBySignal: After the checkpoint was written.
        """
        if self.received is not None and not self._busy:
            # the main process alone writes; others may be anywhere, so there is nobody to meet
            self._stop(runner, self._save(runner, runner.iter))

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid or self._runner is None or self._runner() is None:
            # a process forked from this one, or a run that ended by an error
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = number
        # torch's handler raises wherever training is, when a worker that loads data was ended, too
        if hasattr(signal, 'SIGCHLD') and signal.SIGCHLD not in self._before:
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

    def _save(self, runner: Runner, iteration: int) -> str | None:
        if iteration == 0:
            return None
        hook = next((h for h in runner.hooks if isinstance(h, CheckpointHook)), None)
        folder = getattr(hook, 'out_dir', None) or runner.work_dir
        backend_args = getattr(hook, 'backend_args', None) or dict(backend=BACKEND)
        name = f'iter_{iteration}.pth'
        path = join_path(folder, name, backend_args=backend_args)
        if getattr(hook, 'last_ckpt', None) != path:
            runner.save_checkpoint(
                folder,
                name,
                meta=dict(epoch=runner.epoch, iter=iteration),
                by_epoch=False,
                backend_args=backend_args,
            )
            if is_main_process():  # where mmengine looks for the newest one
                write_text(Path(runner.work_dir) / 'last_checkpoint', path)
        return path

    def _stop(self, runner: Runner, path: str | None) -> None:
        number = self.received or self.signals[0]
        code = 128 + number
        self._restore()
        written = f'{path} is written' if path else 'nothing was trained yet'
        runner.logger.warning(
            f'{signal.Signals(number).name}: {written}. This run ends here with exit code {code}; '
            'continue it with --resume.'
        )
        raise StoppedBySignal(code)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
