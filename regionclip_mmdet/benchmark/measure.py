# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One variant of a workload, timed in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from mmengine.logging import MMLogger
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .switches import SWITCHES, switched_off
from .timing import now, part_times, peak_memory_mib
from .workloads import WORKLOADS, Settings


@dataclass(frozen=True)
class Measurement:
    """The quickest of several steps, and what it gave.

    Attributes:
        total: Seconds of the step.
        parts: Seconds by stage, summing up to ``total``.
        memory_mib: Peak memory of the process (CPU, torch itself included) or of tensors (GPU).
        outputs: Results of the step, by name.
        regions: Regions encoded in the step.
        flops: Floating-point operations of convolutions and matrix products, backward ones
            included, if they were counted.
    """

    total: float
    parts: dict[str, float]
    memory_mib: float
    outputs: dict[str, Tensor]
    regions: int
    flops: int | None = None


def measure(
    workload: str,
    settings: Settings,
    switched_on: Sequence[str],
    repeats: int,
    threads: int,
    count_flops: bool = False,
) -> Measurement:
    """Time a variant in a fresh process: peak memory is its own, and nothing is left behind.

    Args:
        workload: Key of ``WORKLOADS``.
        settings: Sizes.
        switched_on: Speed-ups to use; the workload's others are taken away.
        repeats: Steps to time, after one to warm up.
        threads: Torch's threads on the CPU; 0 leaves the default.
        count_flops: Count operations in one more step.
    """
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(
            _measure_here, (workload, settings, switched_on, repeats, threads, count_flops)
        )


def _measure_here(
    workload: str,
    settings: Settings,
    switched_on: Sequence[str],
    repeats: int,
    threads: int,
    count_flops: bool = False,
) -> Measurement:
    if threads:
        torch.set_num_threads(threads)
    # what init_weights says of every tensor is of no use here
    MMLogger.get_current_instance().setLevel('WARNING')
    task = WORKLOADS[workload](settings)
    off = [
        name
        for name, (_, workloads, _) in SWITCHES.items()
        if workload in workloads and name not in switched_on
    ]
    parts = {k: v for k, v in task.parts.items() if settings.localizer or k != 'localizer'}
    counted: list[int] = []
    task.model.roi_head.region_encoder.roi_align.register_forward_hook(
        lambda module, args, output: counted.append(len(args[1]))
    )
    best: Measurement | None = None
    reduced = workload == 'inference' and settings.dtype != 'float32'
    autocast = (
        torch.autocast(torch.device(settings.device).type, getattr(torch, settings.dtype))
        if reduced
        else nullcontext()
    )
    with switched_off(task.model, off), autocast:
        for _ in range(1 + repeats):
            counted.clear()
            with part_times(task.model, parts, settings.device) as seconds:
                start = now(settings.device)
                outputs = task.step()
                total = now(settings.device) - start
            seconds[task.rest] = total - sum(seconds.values())
            if best is None or total < best.total:
                memory = peak_memory_mib(settings.device)
                best = Measurement(total, dict(seconds), memory, outputs, sum(counted))
        if count_flops:
            with FlopCounterMode(display=False) as counter:
                task.step()
            best = replace(best, flops=counter.get_total_flops())
    return best
