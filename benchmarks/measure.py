# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One variant of a workload, timed in a process of its own."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .switches import SWITCHES, switched_off
from .timing import WARM_UPS, median_seconds, now, part_times, peak_memory_mib
from .workloads import WORKLOADS, Settings


@dataclass(frozen=True)
class Measurement:
    """The median of several steps, and what one gave.

    Attributes:
        total: Seconds of a step that nothing looks into.
        parts: Seconds by stage, medians of further steps. At the borders of stages a GPU is waited
            for, so they may add up to more than ``total``.
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
    warm_ups: int = WARM_UPS,
) -> Measurement:
    """Time a variant in a fresh process: peak memory is its own, and nothing is left behind.

    Args:
        workload: Key of ``WORKLOADS``.
        settings: Sizes.
        switched_on: Speed-ups to use; the workload's others are taken away.
        repeats: Steps to time, and as many again to time by stage.
        threads: Torch's threads on the CPU; 0 leaves the default.
        count_flops: Count operations in one more step.
        warm_ups: Steps before the first that counts.
    """
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(
            _measure_here,
            (workload, settings, switched_on, repeats, threads, count_flops, warm_ups),
        )


def _measure_here(
    workload: str,
    settings: Settings,
    switched_on: Sequence[str],
    repeats: int,
    threads: int,
    count_flops: bool = False,
    warm_ups: int = WARM_UPS,
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
    reduced = workload == 'inference' and settings.dtype != 'float32'
    autocast = (
        torch.autocast(torch.device(settings.device).type, getattr(torch, settings.dtype))
        if reduced
        else nullcontext()
    )
    with switched_off(task.model, off), autocast:
        total, outputs = median_seconds(task.step, repeats, settings.device, warm_ups)
        memory = peak_memory_mib(settings.device)
        seconds, regions = _by_stage(task, parts, repeats, settings.device)
        flops = None
        if count_flops:
            with FlopCounterMode(display=False) as counter:
                task.step()
            flops = counter.get_total_flops()
    return Measurement(total, seconds, memory, outputs, regions, flops)


def _by_stage(
    task: Any, parts: Mapping[str, str], repeats: int, device: str
) -> tuple[dict[str, float], int]:
    """Median seconds of each part and of the rest, and the regions of a step."""
    counted: list[int] = []
    handle = task.model.roi_head.region_encoder.roi_align.register_forward_hook(
        lambda module, args, output: counted.append(len(args[1]))
    )
    steps = []
    for _ in range(repeats):
        counted.clear()
        with part_times(task.model, parts, device) as seconds:
            start = now(device)
            task.step()
            total = now(device) - start
        steps.append({**seconds, task.rest: total - sum(seconds.values())})
    handle.remove()
    medians = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    return medians, sum(counted)
