# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One clear error where a data worker dies, another process is lost, or the disk is full."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import get_rank, get_world_size

from ...fileio import naming_write_errors
from .resumable_data import ResumableLoader

# gloo's errors name its source files; NCCL's come as DistBackendError or name themselves
_COMMUNICATION = re.compile(
    r'gloo/|connection (closed|reset) by (remote )?peer|\bnccl', re.IGNORECASE
)
# of this process, though communication has found them
_OWN = re.compile(
    r'enforce fail|invalid (usage|argument)|duplicate gpu|unhandled cuda|out of memory',
    re.IGNORECASE,
)


class DataWorkerError(RuntimeError):
    """A worker of a data loader was killed or ended by itself."""


class LostProcessError(RuntimeError):
    """Another process of the run ended, was killed, or does not answer."""


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
    except DataWorkerError:
        raise
    except RuntimeError as error:
        if 'DataLoader worker (pid' not in str(error):
            raise
        (numbers,) = re.findall(r'pid(?:\(s\))? ([\d, ]+)\)', str(error))[:1] or ['']
        dead = {int(number) for number in re.findall(r'\d+', numbers)}
        which = 'training' if dead & loader.worker_ids() else 'validation'
        raise DataWorkerError(_dead_worker(which, error, loader)) from error
    except (OSError, EOFError) as error:
        try:
            is_dead = loader.has_dead_workers()
        except RuntimeError:  # torch's error comes only now
            is_dead = True
        if not is_dead:
            raise
        raise DataWorkerError(_dead_worker('training', error, loader)) from error


def _dead_worker(which: str, error: Exception, loader: ResumableLoader) -> str:
    return (
        f'A worker process of the {which} data loader died: {error}. Usually the machine ran '
        'out of memory, or of shared memory (/dev/shm; in containers --shm-size or --ipc=host '
        f'gives more). Lower num_workers ({loader.num_workers} for training) or batch_size; '
        'num_workers=0 loads in the main process and shows errors of the data themselves. '
        'Checkpoints written before are whole: continue with --resume.'
    )


@contextmanager
def explain_lost_processes(iteration: Callable[[], int]) -> Iterator[None]:
    """Translate errors of communication between processes.

    Args:
        iteration: Returns the current iteration, for the message.

    Raises:
        LostProcessError: In place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if get_world_size() == 1 or not _is_communication(error):
            raise
        raise LostProcessError(
            f'Process {get_rank()} of {get_world_size()}, iteration {iteration()}: the connection '
            f'to another process is gone ({str(error).strip().splitlines()[0]}). That one ended or '
            "was killed first: look for its error above, or under 'Root Cause' in the launcher's "
            'report below (exit code -9: killed, often for want of memory). Checkpoints written '
            'before are whole: continue with --resume.'
        ) from error


def _is_communication(error: RuntimeError) -> bool:
    if _OWN.search(str(error)):
        return False
    kind = getattr(torch.distributed, 'DistBackendError', ())
    return isinstance(error, kind) or bool(_COMMUNICATION.search(str(error)))


@contextmanager
def explain_full_disk(work_dir: str) -> Iterator[None]:
    """Name the work dir where the error of a full disk names no file.

    Raises:
        OSError: In place of the nameless one.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        remedy = (
            'Free some space or name another work_dir, and continue with --resume: checkpoints '
            'written before are whole'
        )
        with naming_write_errors(work_dir, remedy):
            raise
