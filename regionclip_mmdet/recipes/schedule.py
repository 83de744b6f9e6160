# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A schedule for one batch size, computed for another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

# Keys of a parameter scheduler that count iterations.
COUNTS = ('begin', 'end', 'T_max', 'step_size')


def scale_schedule(
    cfg: Mapping[str, Any],
    batch_size: int,
    accumulative_counts: int = 1,
    num_gpus: int | None = None,
) -> dict[str, Any]:
    """Settings that show a model the same images in updates of another size.

    The rule of detectron2's ``auto_scale_workers`` (linear scaling; Goyal et al., 2017): with ``k``
    times the images per update, the learning rate is multiplied by ``k``, and everything that is
    counted in iterations is divided by it: length, milestones, warm-up, intervals of validation and
    checkpoints. The length of the warm-up in images stays the same, too. Scaling the rate alone, as
    ``--auto-scale-lr`` does, would show ``k`` times as many images.

    mmengine counts batches, not updates: with accumulation all counts are multiplied by
    ``accumulative_counts``.

    Args:
        cfg: config with ``auto_scale_lr.base_batch_size``, iteration-based ``train_cfg`` and
            ``param_scheduler``.
        batch_size: images per update, over all processes and accumulated batches.
        accumulative_counts: batches per update.
        num_gpus: number of processes; if given, the batch size of each is among the settings.

    Returns:
        Values by dotted key, as ``--cfg-options`` takes them, e.g.
        ``{'optim_wrapper.optimizer.lr': 0.001, 'param_scheduler.1.milestones': [120000]}``.

    Raises:
        ValueError: The config lacks what is to be scaled, counts epochs, or the batch cannot be
            divided evenly.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        raise ValueError(
            'the config has no auto_scale_lr.base_batch_size, so the batch size its schedule was '
            'made for is unknown'
        )
    if batch_size < 1 or accumulative_counts < 1:
        raise ValueError('batch size and accumulated batches must be positive')
    train_cfg = cfg['train_cfg']
    if 'max_iters' not in train_cfg:
        raise ValueError(
            'train_cfg counts epochs, which do not depend on the batch size: --auto-scale-lr is '
            'all that is needed'
        )
    factor = batch_size / base
    stretch = accumulative_counts / factor
    settings: dict[str, Any] = {}
    max_iters = _count(train_cfg['max_iters'], stretch)
    settings['train_cfg.max_iters'] = max_iters
    if 'val_interval' in train_cfg:
        # longer than the run means: never
        never = train_cfg['val_interval'] > train_cfg['max_iters']
        interval = max_iters + 1 if never else _count(train_cfg['val_interval'], stretch)
        settings['train_cfg.val_interval'] = interval
    settings['optim_wrapper.optimizer.lr'] = cfg['optim_wrapper']['optimizer']['lr'] * factor
    if accumulative_counts > 1 or cfg['optim_wrapper'].get('accumulative_counts', 1) > 1:
        settings['optim_wrapper.accumulative_counts'] = accumulative_counts
    for index, scheduler in enumerate(cfg['param_scheduler']):
        for key, value in _scale_scheduler(scheduler, stretch).items():
            settings[f'param_scheduler.{index}.{key}'] = value
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if 'interval' in checkpoint:
        settings['default_hooks.checkpoint.interval'] = _count(checkpoint['interval'], stretch)
    if num_gpus is not None:
        settings['train_dataloader.batch_size'] = _share(batch_size, num_gpus, accumulative_counts)
    # so that --auto-scale-lr does not scale once more
    settings['auto_scale_lr.base_batch_size'] = batch_size
    return settings


def as_cfg_options(settings: Mapping[str, Any]) -> str:
    """The settings as words after ``--cfg-options``."""
    words = []
    for key, value in settings.items():
        text = json.dumps(value).replace(' ', '') if isinstance(value, list) else repr(value)
        words.append(f"'{key}={text}'" if isinstance(value, list) else f'{key}={text}')
    return ' '.join(words)


def as_child_config(config: str, settings: Mapping[str, Any], cfg: Config) -> str:
    """Text of a config that inherits from ``config`` and has the settings.

    Lists cannot be inherited in part, so ``param_scheduler`` is written whole.
    """
    scaled = Config(dict(param_scheduler=[dict(s) for s in cfg.param_scheduler]))
    own = {k: v for k, v in settings.items() if k.startswith('param_scheduler.')}
    scaled.merge_from_dict(own)
    scaled.merge_from_dict({k: v for k, v in settings.items() if k not in own})
    return f'_base_ = {config!r}\n\n{scaled.pretty_text}'


def _scale_scheduler(scheduler: Mapping[str, Any], stretch: float) -> dict[str, Any]:
    """The counts of one parameter scheduler."""
    if scheduler.get('by_epoch', True):
        raise ValueError(f'{scheduler["type"]} counts epochs; set by_epoch=False')
    scaled: dict[str, Any] = {
        key: _count(scheduler[key], stretch) for key in COUNTS if scheduler.get(key)
    }
    if 'milestones' in scheduler:
        scaled['milestones'] = [_count(m, stretch) for m in scheduler['milestones']]
    if scheduler['type'] == 'LinearLR':
        # it reaches its end one iteration before `end`; see the schedules in configs/_base_
        begin = scaled.get('begin', 0)
        length = _count(scheduler['end'] - 1 - scheduler.get('begin', 0), stretch)
        scaled['end'] = begin + length + 1
    return scaled


def _count(iterations: int, stretch: float) -> int:
    return max(1, round(iterations * stretch))


def _share(batch_size: int, num_gpus: int, accumulative_counts: int) -> int:
    """Images of one process in one batch."""
    share, rest = divmod(batch_size, num_gpus * accumulative_counts)
    if rest or not share:
        raise ValueError(
            f'{batch_size} images per update cannot be divided among {num_gpus} processes with '
            f'{accumulative_counts} batches each'
        )
    return share
