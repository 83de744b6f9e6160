# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining that is broken off by killing one process, then resumed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from dataclasses import fields
from pathlib import Path
from subprocess import Popen
from typing import Any

from examples.quickstart.console import captured
from examples.quickstart.runs import LOG_FILE, set_iterations
from examples.quickstart.stages import stage_config
from examples.quickstart.workspace import Job
from regionclip_mmdet.engine.robust.checkpoint_choice import newest_whole_checkpoint

from . import checks
from .checks import Check
from .commands import (
    CommandFailed,
    distributed_training,
    gone,
    on_gpus,
    wait_for_end,
    wait_until,
)
from .history import read_starts, surviving_history
from .passes import check_passes
from .run_sizes import Schedule, Sizes, plan
from .shards import FILE as DAMAGE_FILE
from .shards import Damage, image_id

ENDS_WITHIN = 120


def train(job: Job) -> dict[str, Any]:
    """Pretrain, kill one process between two checkpoints, resume, and look at what was used."""
    settings = job.stage.settings
    sizes = Sizes(**{field.name: settings[field.name] for field in fields(Sizes)})
    damage = Damage.load(job.sibling('shards') / DAMAGE_FILE)
    undecodable = damage.undecodable if settings['keep_undecodable'] else {}
    samples = len(damage.good) + len(undecodable)
    schedule = plan(sizes, samples, settings['processes'])
    run = job.folder / 'run'
    shutil.rmtree(run, ignore_errors=True)
    config = write_config(job, schedule)
    found = break_off(job, config, run, schedule, damage)
    checkpoint = _iteration(newest_whole_checkpoint(str(run)))
    found += resume(job, config, run, schedule)
    if undecodable:
        text = (job.folder / 'resumed.log').read_text(encoding='utf-8', errors='replace')
        lines = '\n'.join(line for line in text.splitlines() if 'of all processes:' in line)
        what = 'training names the image that it replaced, whichever process met it'
        found.append(checks.named(what, lines, undecodable))
    starts = read_starts(run)
    history = surviving_history(starts, schedule.iterations)
    reports = check_passes(
        history,
        schedule.batches_per_pass,
        set(map(image_id, damage.good)),
        set(map(image_id, undecodable)),
    )
    found += [
        checks.resumed(starts, checkpoint),
        checks.repeated(history),
        checks.history_is_whole(history, schedule.iterations),
        *checks.passes(reports, sizes.passes, samples),
        checks.learning(read_losses(run)),
    ]
    last = run / f'iter_{schedule.iterations}.pth'
    processes = settings['processes']
    told = f'{processes} processes on {"GPUs" if on_gpus(processes) else "the CPU"}, batch size '
    told += f'{sizes.batch_size} each, {schedule.batches_per_pass} iterations a pass'
    return dict(told=told, checks=found, checkpoint=str(last), samples=samples)


def write_config(job: Job, schedule: Schedule | None = None) -> Path:
    """The training's config as a file that the tools take; its length only with a schedule."""
    settings = job.stage.settings
    cfg = stage_config(job, 'pretraining_check')
    if schedule is not None:
        set_iterations(cfg, schedule.iterations)
    cfg.train_dataloader.batch_size = settings['batch_size']
    cfg.default_hooks.checkpoint.interval = settings['interval']
    cfg.randomness = dict(seed=settings['seed'])
    if settings['keep_undecodable']:
        cfg.train_dataloader.dataset.exclude = None
    path = job.folder / 'pretrain.py'
    with captured(job.folder / LOG_FILE):
        cfg.dump(path)
    return path


def break_off(job: Job, config: Path, run: Path, schedule: Schedule, damage: Damage) -> list[Check]:
    """Train until a process is killed; how the others took it."""
    processes = job.stage.settings['processes']
    victim = processes - 1
    log = job.folder / 'broken_off.log'
    with distributed_training(processes, [config, '--work-dir', run], log) as launcher:
        _follow(job, run, 0, victim, schedule, schedule.kill_at, launcher, log)
        (start,) = read_starts(run)
        pids = [record.pid for record in start.records]
        os.kill(pids[victim], signal.SIGKILL)
        killed = time.monotonic()
        code = wait_for_end(launcher, ENDS_WITHIN)
        seconds = time.monotonic() - killed
    (start,) = read_starts(run)
    at = start.records[victim].last_iteration
    newest = _iteration(newest_whole_checkpoint(str(run)))
    within = divmod(newest, schedule.batches_per_pass)
    ended = 'did not end' if code is None else f'{seconds:.0f} s after it, exit code {code}'
    text = log.read_text(encoding='utf-8', errors='replace')
    return [
        checks.named(
            'training names broken captions and the truncated shard by shard and key',
            text,
            [*damage.unusable, damage.truncated],
        ),
        Check(
            f'process {victim} killed between two checkpoints, within a pass',
            f'in iteration {at} of {schedule.iterations} (pass {within[0] + 1}), the newest '
            f'checkpoint is that of iteration {newest}',
            newest < at < schedule.iterations and within[0] > 0 and within[1] > 0,
        ),
        Check(f'the job ended by itself (within {ENDS_WITHIN} s)', ended, code not in (None, 0)),
        message(text, pids, victim, on_gpus(processes)),
        Check('its processes are gone', f'{len(pids)} processes', all(map(gone, pids))),
    ]


def message(text: str, pids: list[int], victim: int, on_gpus: bool = False) -> Check:
    """Whether the end of a job tells which process was killed and, on CPUs, the others what to do.

    With NCCL the others wait in a kernel until the launcher ends them, and cannot say anything.
    """
    launcher = re.search(rf'exitcode\s*: -9 \(pid: {pids[victim]}\)', text)
    others = re.search(r'LostProcessError: (Process \d+ of \d+, iteration \d+: [^(]*)', text)
    told = [match[0].replace('  ', ' ').strip() for match in (launcher, others) if match]
    passed = launcher is not None and (others is not None or on_gpus or len(pids) == 1)
    return Check('with a clear message', '; '.join(told) or 'none found', passed)


def resume(job: Job, config: Path, run: Path, schedule: Schedule) -> list[Check]:
    """Go on to the end.

    Raises:
        CommandFailed: The training ended before.
    """
    processes = job.stage.settings['processes']
    log = job.folder / 'resumed.log'
    arguments = [config, '--work-dir', run, '--resume']
    with distributed_training(processes, arguments, log) as launcher:
        last = schedule.iterations
        _follow(job, run, 1, 0, schedule, last, launcher, log)
        code = wait_for_end(launcher, ENDS_WITHIN)
    whole = (run / f'iter_{last}.pth').is_file()
    value = f'exit code {code}, checkpoint of iteration {last} {"written" if whole else "missing"}'
    return [Check('resumed training ends', value, code == 0 and whole)]


def read_losses(run: Path) -> dict[int, float]:
    """The image-text loss by iteration, from the scalars of all starts; of repeated ones the last.

    Args:
        run: Work dir.
    """
    losses = {}
    for path in sorted(run.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            record = json.loads(line)
            if 'loss_image_text' in record:
                losses[record['step']] = record['loss_image_text']
    return losses


def _follow(
    job: Job,
    run: Path,
    number: int,
    rank: int,
    schedule: Schedule,
    until: int,
    launcher: Popen,
    log: Path,
) -> None:
    """Wait for an iteration of a process in a start of a run."""

    def reached() -> bool:
        starts = read_starts(run)
        if len(starts) <= number or len(starts[number].records) <= rank:
            return False
        last = starts[number].records[rank].last_iteration
        job.progress(f'iteration {last} of {schedule.iterations}')
        return last >= until

    wait_until(reached, launcher, log, f'iteration {until}')


def _iteration(checkpoint: Path | None) -> int:
    if checkpoint is None:
        raise CommandFailed('The training that was broken off left no whole checkpoint.')
    return int(re.search(r'iter_(\d+)', Path(checkpoint).name)[1])
