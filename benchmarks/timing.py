# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Seconds and bytes."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

MIB = 2**20
# Kernels are chosen and memory is reserved in the first steps.
WARM_UPS = 3


def now(device: torch.device | str = 'cpu') -> float:
    """Seconds of a steady clock, after the device has finished what was asked of it."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_seconds(
    step: Callable[[], Any],
    repeats: int,
    device: torch.device | str = 'cpu',
    warm_ups: int = WARM_UPS,
) -> tuple[float, Any]:
    """Median time of a step with nothing in between: a GPU is waited for before and after it.

    Args:
        step: What is timed.
        repeats: How often.
        device: Where the step computes.
        warm_ups: Steps before the first that counts.

    Returns:
        Seconds, and what the last step returned.
    """
    for _ in range(warm_ups):
        step()
    seconds, result = [], None
    for _ in range(repeats):
        result = None  # memory of one result at a time
        start = now(device)
        result = step()
        seconds.append(now(device) - start)
    return statistics.median(seconds), result


def peak_memory_mib(device: torch.device | str = 'cpu') -> float:
    """Largest memory use so far in MiB: tensors on a GPU, else resident memory of the process."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def peak_of(device: torch.device | str = 'cpu') -> Iterator[list[float]]:
    """How far memory use rises within, above what it is at the beginning.

    Tensors on a GPU; on a CPU resident memory of the process, by Linux's own high-water mark.

    Yields:
        A list that holds the rise in MiB afterwards.
    """
    found: list[float] = []
    if torch.device(device).type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / MIB
        yield found
        found.append(peak_memory_mib(device) - before)
        return
    Path('/proc/self/clear_refs').write_text('5')  # the mark falls to what is in use
    before = _status_mib('VmRSS')
    yield found
    found.append(_status_mib('VmHWM') - before)


def _status_mib(key: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{key}:')) / 1024


@contextmanager
def part_times(
    model: nn.Module, parts: Mapping[str, str], device: torch.device | str = 'cpu'
) -> Iterator[dict[str, float]]:
    """Seconds spent in the forward passes of some modules.

    Args:
        model: The model.
        parts: Name to the path of a sub-module; parts must not contain each other.
        device: Where the model runs; a GPU is waited for at every border of a part.
    """
    seconds = dict.fromkeys(parts, 0.0)
    started: dict[str, float] = {}
    handles = []
    for name, path in parts.items():

        def before(module: nn.Module, args: tuple, name: str = name) -> None:
            started[name] = now(device)

        def after(module: nn.Module, args: tuple, output: object, name: str = name) -> None:
            seconds[name] += now(device) - started[name]

        module = model.get_submodule(path)
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()
