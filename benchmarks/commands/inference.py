# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Time detection, by stage, with one speed-up more in every row.

    python tools/benchmark.py inference
    python tools/benchmark.py inference --objectness logit --positive-share 0.3
    python tools/benchmark.py inference --device cuda --dtype bfloat16 --batch-size 4

The first row computes as CLIP's own modules do. All rows come from one run, each from a process of
its own; times are medians of several steps, after some to warm up, and stages are timed in steps of
their own. Weights and inputs are generated: times do not depend on them, except for the share of
regions that can be left out.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..workloads import Settings
from .steps import add_step_arguments, run_steps

HELP = 'detection on one image, by stage, with and without each speed-up'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_step_arguments(parser, 'inference')
    parser.add_argument(
        '--objectness',
        choices=['none', 'logit', 'sigmoid'],
        help='fusion of class scores with objectness; early exit needs one',
    )
    parser.add_argument(
        '--positive-share',
        type=float,
        help='share of proposals with a positive objectness logit (default: 0.5)',
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    return run_steps('inference', Settings(), args)
