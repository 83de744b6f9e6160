# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Command line of the quickstart."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from regionclip_mmdet.config_paths import config_path

from .console import Console, clock, set_console
from .ready_detector import example_command, ready_detector
from .real_size import real_size
from .report import report, write_report
from .stages import fingerprint_of, training_stages
from .workspace import Stage, StageInputMissing, Workspace, select_stages

DESCRIPTION = (
    'From captions to an open-vocabulary detector in a world of colored shapes, on a CPU. Stages: '
    'world, clip, localizer, pretrain, zero_shot, transfer, report, real_size, detector. Finished '
    'stages are not repeated unless their settings or inputs changed.'
)


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        '--full',
        dest='edition',
        action='store_const',
        const='full',
        help='the same with three seeds',
    )
    size.add_argument(
        '--smoke', dest='edition', action='store_const', const='smoke',
        help='a few steps per stage: shows that everything runs, its numbers mean nothing',
    )  # fmt: skip
    parser.add_argument('--work-dir', help='default: work_dirs/quickstart, or ..._full, ..._smoke')
    parser.add_argument('--only', nargs='+', default=[], metavar='STAGE', help='run only these')
    parser.add_argument('--skip', nargs='+', default=[], metavar='STAGE', help='leave these out')
    parser.add_argument('--from', dest='start', metavar='STAGE', help='redo this and later stages')
    parser.add_argument('--seeds', nargs='+', type=int, help='other seeds than the fixed ones')
    parser.add_argument('--threads', type=int, help='CPU threads (default: all cores)')
    parser.set_defaults(edition='demo')
    return parser.parse_args(args)


def all_stages(sizes: Mapping[str, Any], seeds: Sequence[int], edition: str) -> list[Stage]:
    """Every stage of a run in order.

    Args:
        sizes: An edition of ``configs/quickstart/sizes.py``.
        seeds: Stages 1 to 6 run once for each.
        edition: Its name.
    """
    prefixes = [''] if len(seeds) == 1 else [f'seed{seed}/' for seed in seeds]
    stages = [
        stage
        for seed, prefix in zip(seeds, prefixes)
        for stage in training_stages(sizes, seed, prefix)
    ]
    needs = tuple(p + n for p in prefixes for n in ('clip', 'pretrain', 'zero_shot', 'transfer'))
    stages.append(
        Stage('report', 'Report', report, needs, dict(prefixes=prefixes, edition=edition))
    )
    stages.append(
        Stage(
            'real_size', 'The full-size detector on a photograph', real_size,
            settings=dict(real_size=sizes['real_size']),
        )
    )  # fmt: skip
    stages.append(
        Stage(
            prefixes[0] + 'detector', 'A detector for own photos', ready_detector,
            needs=tuple(prefixes[0] + name for name in ('clip', 'transfer')),
            settings=dict(configs=dict(transfer=fingerprint_of('transfer'))),
        )
    )  # fmt: skip
    return stages


def run_stages(
    workspace: Workspace,
    stages: Sequence[Stage],
    forced: set[str],
    console: Console,
    number_of: Mapping[str, str],
) -> None:
    """Run the stages that are not done, telling what happens.

    Args:
        workspace: Folder of the run.
        stages: In order.
        forced: Names of stages to run even if they are done.
        console: Where to tell.
        number_of: What to call each stage, e.g. ``'2/8'``.
    """
    for stage in stages:
        head = f'[{number_of[stage.name]}] {stage.title}'
        if stage.name not in forced and workspace.is_done(stage):
            seconds = workspace.marker(stage.name)['seconds']
            console.line(f'{head}: done before ({clock(seconds)})')
            continue
        console.line(f'{head} ...')
        marker = workspace.run(stage)
        console.line(f'      done in {clock(marker["seconds"])}')


def expand(words: Sequence[str], stages: Sequence[Stage]) -> list[str]:
    """Full stage names for words of the command line: ``clip`` means that of every seed."""
    names: list[str] = []
    for word in words:
        full = [stage.name for stage in stages if word in (stage.name, stage.name.split('/')[-1])]
        names += full or [word]
    return names


def main(args: Sequence[str] | None = None) -> None:
    """Run the quickstart."""
    options = parse_args(args)
    # What a Runner does from its config; some stages build models without one.
    init_default_scope('mmdet')
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    sizes = Config.fromfile(config_path('quickstart/sizes.py'))[options.edition].to_dict()
    suffix = '' if options.edition == 'demo' else f'_{options.edition}'
    workspace = Workspace(Path(options.work_dir or f'work_dirs/quickstart{suffix}').resolve())
    seeds = options.seeds or sizes['seeds']
    stages = all_stages(sizes, seeds, options.edition)
    console = Console()
    set_console(console)
    numbers = {stage.name: f'{i}/{len(stages)}' for i, stage in enumerate(stages, 1)}
    start = time.time()
    try:
        chosen, forced = select_stages(
            stages,
            expand(options.only, stages),
            expand(options.skip, stages),
            expand([options.start], stages)[0] if options.start else None,
        )
        run_stages(workspace, chosen, forced, console, numbers)
    except (StageInputMissing, ValueError) as error:
        if isinstance(error, StageInputMissing) or 'No such stage' in str(error):
            sys.exit(f'quickstart: {error}')
        raise
    if workspace.marker('report'):
        # Again, now that the last stage's image is there.
        settings = workspace.marker('report')['settings']
        paths = write_report(workspace, settings['prefixes'], settings['edition'])
        console.line(f'All in {clock(time.time() - start)}. Open the report: {paths[1]}')
    detector = stages[-1].name
    if workspace.marker(detector):
        folder = workspace.folder(detector)
        if folder.is_relative_to(Path.cwd()):
            folder = folder.relative_to(Path.cwd())
        console.line(f'Try an image of your own:\n    {example_command(folder)}')
