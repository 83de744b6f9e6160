# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What one process finds out concerns all of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather, all_reduce, broadcast_object_list, init_dist, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from ...compat.distributed import choose_port, prepare_launch


def start_processes(launcher: str, days: int = 7) -> None:
    """Let the processes of a tool that trains nothing speak to each other, on CPUs or GPUs.

    Their messages are few and small, and they may wait for each other for long: by gloo.

    Args:
        launcher: Value of the tool's ``--launcher``.
        days: Days after which waiting for another process fails.

    Raises:
        ValueError: The launcher needs CUDA, which is not available.
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


def unwrapped_model(runner: Runner) -> Any:
    """The model of a run, without the wrapper that distributed runs put around it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


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
    """Whether a value is true on at least one process; called by all."""
    flag = torch.tensor(float(value))
    all_reduce(flag, 'max')
    return bool(flag)


def of_all_ranks(value: int) -> list[int]:
    """A number of each process, by rank; called by all."""
    return [int(number) for number in all_gather(torch.tensor(value))]


def _sendable(error: Exception | None) -> Exception | None:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions define their own pickling, or fail to
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error
