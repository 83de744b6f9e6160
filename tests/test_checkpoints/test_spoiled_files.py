# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official files spoiled at random convert, load, or end with an error that names the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from helpers import official_layouts as official
from regionclip_mmdet import config_path
from regionclip_mmdet.conversion import convert_several

SEEDS, PER_TEST = 300, 30
FILES: tuple[Callable[[], dict], ...] = (
    official.pretrained,
    official.finetuned,
    official.clip,
    official.teacher_student,
    *(lambda kind=kind: official.localizer_file(kind) for kind in official.LOCALIZERS),
)
VALUES: tuple[Callable[[Tensor], Any], ...] = (
    lambda value: value.flatten(),
    lambda value: value[None],
    lambda value: torch.zeros(0),
    lambda value: torch.tensor(1.0),
    lambda value: value.to(torch.complex64),
    lambda value: value.to(torch.int64),
    lambda value: value * float('nan'),
    lambda value: value.half(),
    lambda value: value.to_sparse() if value.ndim else value,
    lambda value: 'text',
    lambda value: None,
    lambda value: [value],
    lambda value: dict(a=value),
)
KEYS = (
    0,
    None,
    b'x',
    ('a',),
    '',
    '.',
    'model',
    'state_dict',
    'visual.layer1.99999999999.conv1.weight',
)


def spoil(state: dict, dice: random.Random) -> Any:
    """A few mistakes, and a wrapping."""
    for _ in range(dice.randint(1, 4)):
        names = [key for key in state if isinstance(key, str)] or ['z']
        name = dice.choice(names)
        match dice.randrange(6):
            case 0 | 1:
                value = state.get(name)
                own = value if isinstance(value, Tensor) else torch.ones(1)
                state[name] = dice.choice(VALUES)(own)
            case 2:
                start = name[: dice.randint(1, len(name) or 1)]
                state = {k: v for k, v in state.items() if not str(k).startswith(start)}
            case 3:
                value = state.pop(name, torch.ones(1))
                state[name.replace('.', dice.choice(['', '..', '.9.']), 1)] = value
            case 4:
                state[dice.choice(KEYS)] = torch.ones(1)
            case 5:
                prefix = dice.choice(['module.', 'a.', 'backbone.', ''])
                state = {f'{prefix}{k}': v for k, v in state.items()}
    wrappings = (
        state,
        dict(model=state),
        dict(state_dict=state),
        [state],
        dict(model=dict(model=state)),
    )
    return dice.choice(wrappings)


@pytest.fixture(scope='module')
def detector() -> nn.Module:
    cfg = Config.fromfile(config_path('zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py')).model
    cfg.backbone.arch = cfg.roi_head.region_encoder.arch = official.ARCH
    cfg.roi_head.bbox_head.embed_dim = official.ARCH['embed_dim']
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('first', range(0, SEEDS, PER_TEST))
def test_errors_name_the_file(first: int, detector: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / 'spoiled.pth'
    for seed in range(first, first + PER_TEST):
        dice = random.Random(seed)
        content = spoil(dict(dice.choice(FILES)()), dice)
        torch.save(content, path)
        for use in (convert, load):
            try:
                use(content, path, detector)
            except (ValueError, RuntimeError) as error:
                assert 'spoiled.pth' in str(error), f'seed {seed}: {error}'


def convert(content: Any, path: Path, detector: nn.Module) -> None:
    convert_several([(str(path), content)], custom_sizes=True)


def load(content: Any, path: Path, detector: nn.Module) -> None:
    load_checkpoint(detector, str(path))
