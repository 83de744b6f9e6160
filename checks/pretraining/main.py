# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Command line of the check."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from examples.quickstart.console import Console, clock, set_console
from examples.quickstart.workspace import Stage, Workspace

from .checks import Check
from .commands import CommandFailed
from .run_sizes import FULL, SMOKE, good_pairs, plan
from .stages import all_stages

DESCRIPTION = """Does pretraining work here, with several processes, broken data and a crash?

    python tools/check_pretraining.py
    python tools/check_pretraining.py --smoke --work-dir /tmp/check
    python tools/check_pretraining.py --weights work_dirs/quickstart

Runs the tools that a pretraining takes, each as its own process: captioned scenes of the shapes
world are packed into tar shards, three pairs and one shard are broken, the shards are inspected,
a concept pool is made and embedded, proposals are computed, a student is pretrained by several
processes, one of which is killed with SIGKILL between two checkpoints; the training is resumed,
ends, and is evaluated. Every check is a line. The exit code is 1 if one failed.

It checks the machinery, not the method: CLIP and localizer are trained for a minute or two, and
the nouns of these captions are shapes, hardly any colors, so the accuracies at the end say that
the evaluation works and nothing more. --weights takes CLIP and localizer of a finished quickstart.
Without a GPU for each process all train on the CPU."""


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--work-dir', type=Path, help='default: work_dirs/check_pretraining, or ..._smoke'
    )
    parser.add_argument(
        '--smoke', action='store_true', help='80 pairs in 4 shards in place of 2000 in 20'
    )
    parser.add_argument(
        '--processes', type=int, default=2, metavar='N', help='that train together (default: 2)'
    )
    parser.add_argument(
        '--weights', type=Path, metavar='FOLDER', help='work dir of a finished quickstart'
    )
    parser.add_argument(
        '--keep-undecodable',
        action='store_true',
        help='leave the undecodable image among the data: training must draw another one for it',
    )
    parser.add_argument('--fresh', action='store_true', help='redo stages that are done')
    options = parser.parse_args(args)
    if options.processes < 1:
        parser.error('--processes must be positive')
    sizes = SMOKE if options.smoke else FULL
    try:
        plan(sizes, good_pairs(sizes), options.processes)
    except ValueError as error:
        parser.error(f'--processes {options.processes}: {error}')
    if options.weights is not None and not (options.weights / 'clip' / 'clip.pth').is_file():
        parser.error(f'--weights {options.weights}: there is no clip/clip.pth')
    return options


def run_stage(
    workspace: Workspace, stage: Stage, again: bool, console: Console
) -> tuple[list[Check], bool]:
    """Run a stage unless it is done; tell what it found.

    Returns:
        Its checks, and whether it was run now.
    """
    marker = workspace.marker(stage.name)
    done = workspace.is_done(stage) and not again
    if not done:
        console.line(f'{stage.title} ...')
        marker = workspace.run(stage)
    result = marker['result']
    console.line(f'{stage.title}: {"done before" if done else "done"} ({clock(marker["seconds"])})')
    if 'told' in result:
        console.line(f'     {result["told"]}')
    found = [Check(*check) for check in result.get('checks', ())]
    for check in found:
        console.line(f'     {check}')
    return found, not done


def main(args: Sequence[str] | None = None) -> int:
    """Run the check; 1 if anything failed."""
    options = parse_args(args)
    init_default_scope('mmdet')
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    name = 'check_pretraining' + ('_smoke' if options.smoke else '')
    workspace = Workspace((options.work_dir or Path('work_dirs') / name).resolve())
    console = Console()
    set_console(console)
    weights = None if options.weights is None else str(options.weights.resolve())
    stages = all_stages(
        SMOKE if options.smoke else FULL, options.processes, weights, options.keep_undecodable
    )
    start = time.time()
    found: list[Check] = []
    again = options.fresh
    for stage in stages:
        # what failed is tried again, and what comes after it
        before = workspace.marker(stage.name).get('result', {}).get('checks', ())
        again = again or not all(Check(*check).passed for check in before)
        try:
            checks, again = run_stage(workspace, stage, again, console)
            found += checks
        except (CommandFailed, OSError, ValueError) as error:
            console.line(f'FAIL {stage.title}: {error}')
            found.append(Check(stage.title, str(error), False))
            break
    failed = sum(not check.passed for check in found)
    console.line(
        f'{len(found)} checks, {failed} failed, {clock(time.time() - start)}; logs and results in '
        f'{workspace.root}'
    )
    return int(failed > 0)
