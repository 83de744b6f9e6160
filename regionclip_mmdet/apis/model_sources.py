# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From what users say to a config, a checkpoint or generated weights."""

from __future__ import annotations

import os

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from ..config_paths import config_folder, config_path
from ..models.detectors import OpenVocabularyRCNN
from ..models.localizers import RPNLocalizer

RANDOM = 'random'
GENERATED = 'generated at random, as asked'


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


def generated_model(cfg: Config) -> OpenVocabularyRCNN:
    """A detector of full size with random weights, the same at every call.

    For trying things out where no weights are at hand: everything runs as it would, and what it
    finds means nothing. A text encoder is added where the config has none.

    Args:
        cfg: Changed: no part names a file any more.
    """
    without_init(cfg.model)
    arch = cfg.model.backbone.get('arch')
    if cfg.model.get('text_encoder') is None and isinstance(arch, str):
        cfg.model.text_encoder = dict(type='CLIPTextEncoder', arch=arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        _spread_boxes(model.localizer)
    for part in model.weight_sources():
        model.get_submodule(part).weights_source = GENERATED
    return model


def without_init(value: object) -> None:
    """Take every ``init_cfg`` out of a config."""
    if isinstance(value, dict):
        value.pop('init_cfg', None)
        for item in value.values():
            without_init(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            without_init(item)


def _spread_boxes(localizer: RPNLocalizer | None) -> None:
    """The RPN's own start puts out no box differences: everything would be an anchor."""
    if localizer is not None:
        nn.init.normal_(localizer.rpn_head.rpn_reg.weight, std=0.01)
