# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Short progress lines for people, while mmengine's own log goes to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

REFRESH_SECONDS = dict(terminal=1.0, file=20.0)


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, secs = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{secs:02d}' if hours else f'{minutes}:{secs:02d}'


class Console:
    """Writes lines to the terminal even while standard output is captured.

    On a terminal progress rewrites one line; into a file it adds a line now and then.

    Args:
        stream: Where to write. Defaults to standard output as it is now.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self._last = 0.0
        self._open_line = False

    def line(self, text: str = '') -> None:
        """Write one full line."""
        if self._open_line:
            self.stream.write('\r\033[K')
            self._open_line = False
        self.stream.write(text + '\n')
        self.stream.flush()
        self._last = time.time()

    def progress(self, text: str) -> None:
        """Show a passing state, at most every few seconds."""
        pause = REFRESH_SECONDS['terminal' if self.terminal else 'file']
        if time.time() - self._last < pause:
            return
        self._last = time.time()
        if self.terminal:
            self.stream.write(f'\r\033[K      {text}')
            self._open_line = True
        else:
            self.stream.write(f'      {text}\n')
        self.stream.flush()


# Hooks are built from configs, which hold no objects: they find the console here.
_current = Console()


def set_console(console: Console) -> None:
    """Make ``console`` the one that progress hooks write to."""
    global _current
    _current = console


def get_console() -> Console:
    """The console that progress hooks write to."""
    return _current


@contextmanager
def captured(log_file: Path) -> Iterator[None]:
    """Send everything printed meanwhile, mmengine's log included, to a file.

    An exception passes through with a note that names the file.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with open(log_file, 'a', encoding='utf-8') as stream:
        try:
            with redirect_stdout(stream), redirect_stderr(stream):
                yield
        except Exception as error:
            if hasattr(error, 'add_note'):
                error.add_note(f'The full log of this step is in {log_file}.')
            raise


@HOOKS.register_module()
class ConsoleProgressHook(Hook):
    """Tells how far a run is, its loss and how long it will still take.

    Args:
        label: Words in front of the numbers.
    """

    priority = 'LOWEST'

    def __init__(self, label: str) -> None:
        self.label = label
        self._start = 0.0

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self._start = time.time()

    def before_test(self, runner: Runner) -> None:
        """Start the clock."""
        self._start = time.time()

    def _report(self, done: int, total: int, extra: str = '') -> None:
        left = (time.time() - self._start) / max(done, 1) * (total - done)
        get_console().progress(f'{self.label}: {done}/{total}{extra}, {clock(left)} left')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Report a training step."""
        loss = outputs.get('loss') if isinstance(outputs, dict) else None
        extra = '' if loss is None else f', loss {float(loss):.3f}'
        self._report(runner.iter + 1, runner.max_iters, extra)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Report a test step."""
        self._report(batch_idx + 1, len(runner.test_dataloader))
