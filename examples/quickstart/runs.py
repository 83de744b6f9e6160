# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Standard mmengine runs from config files, with the overrides the quickstart needs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from .console import captured

LOG_FILE = 'console.log'


def set_iterations(cfg: Config, iterations: int) -> None:
    """Stretch or shrink a run and its schedules (warm-up, cosine) to ``iterations`` steps."""
    factor = iterations / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = iterations
    for scheduler in cfg.get('param_scheduler') or []:
        begin = round(scheduler.get('begin', 0) * factor)
        end = max(begin + 1, round(scheduler.end * factor))
        scheduler.update(begin=begin, end=end)
        if 'T_max' in scheduler:
            scheduler.T_max = end - begin


def load_config(
    config_file: str | Path, options: Mapping[str, Any] | None = None, iterations: int | None = None
) -> Config:
    """A config with ``options`` (dotted keys) merged in and its length set.

    Args:
        config_file: Config file.
        options: As ``--cfg-options`` of the training tool.
        iterations: Length of the run; the config's own if ``None``.
    """
    cfg = Config.fromfile(str(config_file))
    if options:
        cfg.merge_from_dict(dict(options))
    if iterations:
        set_iterations(cfg, iterations)
    return cfg


def relocated(cfg: Config, folders: Mapping[str, str]) -> Config:
    """The config with folder names at the beginning of its strings replaced.

    Args:
        cfg: The config; not changed.
        folders: Folder written in the config to the real one.
    """

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(move(item) for item in value)
        if isinstance(value, str):
            for old, new in folders.items():
                if value == old or value.startswith(old + '/'):
                    return new + value[len(old) :]
        return value

    return Config(move(cfg.to_dict()), filename=cfg.filename)


def build_runner(cfg: Config, work_dir: Path, seed: int, label: str) -> Runner:
    """A standard Runner that reports to the quickstart's console."""
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    # Runners of one process share their log buffers, and visualizers their files, by name.
    cfg.experiment_name = cfg.visualizer.name = f'{work_dir.name}_{time.time_ns()}'
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = [*hooks, dict(type='mmengine.ConsoleProgressHook', label=label)]
    runner = Runner.from_cfg(cfg)
    # open_clip's and our models are mostly 3x3 convolutions: channels-last is a third faster on
    # CPUs and changes no result beyond rounding.
    runner.model.to(memory_format=torch.channels_last)
    return runner


def train(cfg: Config, work_dir: Path, seed: int, label: str) -> Path:
    """Train from scratch (or ``load_from``) and return the checkpoint.

    Older results in ``work_dir`` are not resumed: stages resume as wholes.
    """
    with captured(work_dir / LOG_FILE):
        runner = build_runner(cfg, work_dir, seed, label)
        runner.train()
        name = (work_dir / 'last_checkpoint').read_text().strip()
    return Path(name)


def test(
    cfg: Config, work_dir: Path, seed: int, label: str, checkpoint: str | Path | None = None
) -> dict[str, float]:
    """Test a checkpoint (or the weights that the config names) and return the metrics."""
    cfg.load_from = str(checkpoint) if checkpoint else None
    with captured(work_dir / LOG_FILE):
        metrics = build_runner(cfg, work_dir, seed, label).test()
    return {name: float(value) for name, value in metrics.items()}


def read_curves(work_dir: Path, keys: Mapping[str, str]) -> dict[str, tuple[list, list]]:
    """Logged scalars of a run.

    Args:
        work_dir: Folder of the run.
        keys: Scalar name to the name shown.

    Returns:
        Shown name to steps and values.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        return {}
    records = [json.loads(line) for line in files[-1].read_text().splitlines() if line.strip()]
    curves: dict[str, tuple[list, list]] = {}
    for key, shown in keys.items():
        points = [(r['step'], r[key]) for r in records if key in r and 'step' in r]
        if points:
            curves[shown] = tuple(map(list, zip(*points)))
    return curves
