# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What one process finds out concerns all of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.dist import all_gather, all_reduce, broadcast_object_list, init_dist, is_main_process
from mmengine.utils.dl_utils import set_multi_processing

from ...compat.distributed import choose_port, prepare_launch


def start_processes(launcher: str, days: int = 7) -> None:
    """Let the processes of a tool that trains nothing speak to each other, on CPUs or GPUs.

    Their messages are few and small, and they may wait for each other for long: by gloo.

    Args:
        launcher: ``--launcher`` of the tool.
        days: How long they wait.

    Raises:
        ValueError: A launcher that needs CUDA, without CUDA.
    """
    set_multi_processing(distributed=launcher != 'none')
    if launcher == 'none':
        return
    choose_port(launcher)
    timeout = timedelta(days=days)
    if torch.cuda.is_available():
        init_dist(launcher, 'gloo', timeout=timeout.total_seconds())
        return
    if launcher == 'pytorch':
        torch.distributed.init_process_group('gloo', timeout=timeout)
    prepare_launch(Config(dict(launcher=launcher)))


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """An error of the main process, in what it does for all, ends all processes.

    To be entered and left by all processes at the same place. Without it, the others would go on to
    their next communication and wait there until it times out.

    Raises:
        Exception: The main process's error, on all processes; as a ``RuntimeError`` with its text
            where it cannot be sent.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # whatever it is, the others must hear of it
        error = caught
    found: list[Exception | None] = [_sendable(error) if is_main_process() else None]
    broadcast_object_list(found)
    if error is not None:
        raise error
    if found[0] is not None:
        raise found[0]


def on_main_process(work: Callable[[], None]) -> None:
    """Do something once; if it fails, all processes end with the same error."""
    with raise_on_all_ranks():
        if is_main_process():
            work()


def any_rank(value: bool) -> bool:
    """Whether it is so on at least one process; all must ask."""
    flag = torch.tensor(float(value))
    all_reduce(flag, 'max')
    return bool(flag)


def of_all_ranks(value: int) -> list[int]:
    """A number of each process, by rank; all must ask."""
    return [int(number) for number in all_gather(torch.tensor(value))]


def _sendable(error: Exception | None) -> Exception | None:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions define their own pickling, or fail to
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error
