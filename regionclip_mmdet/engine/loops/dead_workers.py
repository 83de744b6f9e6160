# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One clear error when a process that loads data dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from .resumable_data import ResumableLoader


class DataWorkerError(RuntimeError):
    """A worker of a data loader was killed or ended by itself."""


@contextmanager
def explain_dead_workers(loader: ResumableLoader) -> Iterator[None]:
    """Translate torch's error about a dead worker.

    torch raises it wherever the main process happens to be, so this belongs around everything. A
    main process that was just receiving from the worker sees a broken connection instead.

    Args:
        loader: Training data, to tell its workers from those of validation.

    Raises:
        DataWorkerError: In place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, DataWorkerError) or 'DataLoader worker (pid' not in str(error):
            raise
        (numbers,) = re.findall(r'pid(?:\(s\))? ([\d, ]+)\)', str(error))[:1] or ['']
        dead = {int(number) for number in re.findall(r'\d+', numbers)}
        which = 'training' if dead & loader.worker_ids() else 'validation'
        raise DataWorkerError(_explanation(which, error, loader)) from error
    except (OSError, EOFError) as error:
        try:
            dead = loader.has_dead_workers()
        except RuntimeError:  # torch's error comes only now
            dead = True
        if not dead:
            raise
        raise DataWorkerError(_explanation('training', error, loader)) from error


def _explanation(which: str, error: Exception, loader: ResumableLoader) -> str:
    return (
        f'A worker process of the {which} data loader died: {error}. Usually the machine ran '
        'out of memory, or of shared memory (/dev/shm; in containers --shm-size or --ipc=host '
        f'gives more). Lower num_workers ({loader.num_workers} for training) or batch_size; '
        'num_workers=0 loads in the main process and shows errors of the data themselves. '
        'Checkpoints written before are whole: continue with --resume.'
    )
