# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One clear error where another process of a distributed run has gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import get_rank, get_world_size

# gloo's errors name its source files; NCCL's come as DistBackendError or name themselves
_COMMUNICATION = re.compile(
    r'gloo/|connection (closed|reset) by (remote )?peer|\bnccl', re.IGNORECASE
)
# of this process, though communication has found them
_OWN = re.compile(
    r'enforce fail|invalid (usage|argument)|duplicate gpu|unhandled cuda|out of memory',
    re.IGNORECASE,
)


class LostProcessError(RuntimeError):
    """Another process of the run ended, was killed, or does not answer."""


@contextmanager
def explain_lost_processes(iteration: Callable[[], int]) -> Iterator[None]:
    """Translate errors of communication between processes.

    Args:
        iteration: The one in hand, for the message.

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
