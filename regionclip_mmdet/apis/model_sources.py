# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From what users say to a config."""

from __future__ import annotations

import os

from mmengine.config import Config

from ..config_paths import config_folder, config_path

RANDOM = 'random'


def find_config(name: str | os.PathLike) -> str:
    """Path of a config: a file, or one of this package by its path or base name.

    Args:
        name: E.g. ``'my_config.py'``, ``'zero_shot/regionclip_rn50_rpn_zero-shot_lvis.py'``,
            ``'regionclip_rn50_rpn_zero-shot_lvis'``.

    Raises:
        FileNotFoundError: None of them; lists similar names.
    """
    name = os.fspath(name)
    if os.path.isfile(name):
        return name
    wanted = name if name.endswith('.py') else f'{name}.py'
    if os.path.basename(wanted) == wanted:
        found = list(config_folder().rglob(wanted))
        if len(found) == 1:
            return str(found[0])
    return config_path(wanted.removeprefix('configs/'))


def read_model_config(name: str | os.PathLike) -> Config:
    """A model's config.

    Args:
        name: see ``find_config``.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It describes no model.
    """
    file = find_config(name)
    cfg = Config.fromfile(file)
    if 'model' not in cfg:
        raise ValueError(f'{file} describes no model.')
    return cfg
