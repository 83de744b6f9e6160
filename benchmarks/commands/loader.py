# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Time the training data loader of a config, alone and beside training steps.

    python tools/benchmark.py loader configs/pretrain/regionclip_rn50_32xb3-600k_cc3m.py \
        --workers 4 8
    python tools/benchmark.py loader --generated 400
    python tools/benchmark.py loader --generated 400 --with-step --batch-size 2 --steps 4

Without a config: the pipeline of CC3M shards. --generated reads generated JPEG files in temporary
shards by the config's pipeline, so that no data are needed. Reading is from the file cache once a
shard was read before; a slow disk shows only with data larger than the memory.

The step of --with-step is that of the command pretrain with all speed-ups, on images of the loaded
size and generated weights and proposals; on a CPU it shares the cores with the workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from regionclip_mmdet.config_paths import config_path

from ..generated_pairs import write_generated_pairs
from ..loading import (
    Loading,
    format_loading,
    loader_config,
    loading_rate,
    open_stream,
    training_step,
    waits_beside_steps,
)
from ..timing import median_seconds
from ..workloads import PretrainingWorkload, Settings

HELP = 'the training data loader, alone and beside training steps'
CONFIG = '_base_/datasets/cc3m_shards_image_text.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument('config', nargs='?', help='with a train_dataloader (default: CC3M shards)')
    parser.add_argument('--generated', type=int, metavar='N', help='read N generated pairs')
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('HEIGHT', 'WIDTH'),
        help='of generated images (default: 480 640)',
    )
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[0, 1, 2, 4], help='(default: 0 1 2 4)'
    )
    parser.add_argument('--batch-size', type=int, help="images (default: the config's)")
    parser.add_argument(
        '--samples', type=int, default=200, help='timed samples per row (default: 200)'
    )
    parser.add_argument('--with-step', action='store_true', help='make training steps, too')
    parser.add_argument('--steps', type=int, default=10, help='timed steps per row (default: 10)')
    parser.add_argument('--arch', default='RN50', help='CLIP ResNet of the step (default: RN50)')
    parser.add_argument('--proposals', type=int, default=100, help='regions per image')
    parser.add_argument('--names', type=int, default=4764, help='size of the concept pool')
    parser.add_argument('--localizer', action='store_true', help='part of the step')
    parser.add_argument('--device', default='cpu', help='of the step: cpu (default) or cuda')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads in the step")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    if args.threads:
        torch.set_num_threads(args.threads)
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope('mmdet')
    path = args.config or config_path(CONFIG)
    config = Config.fromfile(path).train_dataloader
    with tempfile.TemporaryDirectory() as folder:
        if args.generated is not None:
            height, width = args.image_size
            size = write_generated_pairs(Path(folder), args.generated, height, width)
            print(f'{args.generated} generated images of {height}x{width}, {size:.0f} kB each')
        shards = folder if args.generated is not None else None
        print(f'{args.config or CONFIG}, {len(os.sched_getaffinity(0))} CPU cores')
        try:
            return _rows(args, config, shards)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error


def _rows(args: argparse.Namespace, config: Any, shards: str | None) -> dict[str, Any]:
    batch_size = args.batch_size or config.batch_size
    batches = -(-args.samples // batch_size)
    first = next(open_stream(loader_config(config, 0, batch_size, shards))[0])
    sizes = [tuple(image.shape[-2:]) for image in first['inputs']]
    step = alone = settings = None
    if args.with_step:
        settings = Settings(
            arch=args.arch,
            image_size=tuple(map(max, zip(*sizes))),
            batch_size=batch_size,
            proposals=args.proposals,
            names=args.names,
            localizer=args.localizer,
            device=args.device,
            dtype=args.dtype,
        )
        step = training_step(PretrainingWorkload(settings))
        seconds, _ = median_seconds(partial(step, first), args.steps, args.device)
        alone = batch_size / seconds
    rows = []
    for workers in args.workers:
        print(f'  measuring {workers} workers ...', flush=True)
        changed = loader_config(config, workers, batch_size, shards)
        row = Loading(workers, loading_rate(*open_stream(changed), batches))
        if step is not None:
            times = waits_beside_steps(*open_stream(changed), step, args.steps, args.device)
            row = Loading(workers, row.rate, *times, batch_size)
        rows.append(row)
    print(f'batches of {batch_size}, images of {sizes[0][0]}x{sizes[0][1]} after the pipeline\n')
    print(format_loading(rows, alone))
    return dict(
        batch_size=batch_size,
        image_size=sizes[0],
        step_alone=alone,
        rows=[vars(row) for row in rows],
    )
