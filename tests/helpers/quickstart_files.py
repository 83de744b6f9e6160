# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The files that ``make demo`` leaves and other commands begin with, with generated weights."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from regionclip_mmdet import config_path
from regionclip_mmdet.checkpoints import read_file
from regionclip_mmdet.conversion import convert

# The text tower's sizes as words of the command line, as docs/custom_dataset.md has them.
TEXT_ARCH = (
    '{"embed_dim": 128, "context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, '
    '"layers": 3}'
)


def write_quickstart_files(root: Path) -> Path:
    """Write ``clip/clip.pth``, ``localizer/localizer.pth`` and ``pretrain/regionclip.pth``.

    Args:
        root: Takes the place of ``work_dirs/quickstart``.
    """
    torch.manual_seed(0)
    for name in ('clip', 'localizer', 'pretrain'):
        (root / name).mkdir(parents=True)
    with DefaultScope.overwrite_default_scope('mmdet'):
        clip = MODELS.build(Config.fromfile(config_path('quickstart/clip.py')).model)
        rpn = MODELS.build(Config.fromfile(config_path('quickstart/localizer.py')).model)
    clip.init_weights()
    rpn.init_weights()
    torch.save(clip.export_state_dict(), root / 'clip' / 'clip.pth')
    torch.save(dict(state_dict=rpn.state_dict()), root / 'localizer' / 'localizer.pth')
    whole = read_file(str(root / 'clip' / 'clip.pth'))[1]
    state = convert(whole, custom_sizes=True).state_dict
    student = {k: v for k, v in state.items() if k.startswith(('backbone.', 'roi_head.'))}
    torch.save(dict(state_dict=student), root / 'pretrain' / 'regionclip.pth')
    return root
