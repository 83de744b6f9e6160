# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Time a pretraining step, by stage, with one speed-up more in every row.

    python tools/benchmark.py pretrain
    python tools/benchmark.py pretrain --device cuda --dtype bfloat16 --batch-size 16 \
        --image-size 800 1066 --peak-tflops 989

The first row computes as CLIP's own modules do, with the localizer in the step. All rows come from
one run, each from a process of its own; times are medians of several steps, after some to warm up,
and stages are timed in steps of their own. Weights, images and proposals are generated: times do
not depend on them.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..workloads import Settings
from .steps import add_step_arguments, run_steps

HELP = 'a pretraining step, by stage, with and without each speed-up'
SIZES = Settings(image_size=(640, 853), batch_size=2, proposals=100, names=4764)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_step_arguments(parser, 'pretraining')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    return run_steps('pretraining', SIZES, args)
