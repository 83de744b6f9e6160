# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a training run saves beside its weights is read back, with every torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from regionclip_mmdet.compat.checkpoints import load_plain, plain_pickle

SCHEDULERS = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=11),
    dict(type='MultiStepLR', milestones=[4, 8], gamma=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=20, by_epoch=False, begin=0, end=20),
]


@pytest.mark.parametrize('loader', ['for this torch', 'for torch before 2.6'])
def test_schedules_optimizer_and_history(loader: str, tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9)
    defaults = dict(optimizer=OptimWrapper(optimizer))
    schedulers = [PARAM_SCHEDULERS.build(dict(s), default_args=defaults) for s in SCHEDULERS]
    parameter.sum().backward()
    optimizer.step()
    for scheduler in schedulers:
        scheduler.step()
    hub = MessageHub(f'training_state_{loader}')
    hub.update_scalar('train/loss', 2.0)
    content = dict(
        optimizer=optimizer.state_dict(),
        param_schedulers=[scheduler.state_dict() for scheduler in schedulers],
        message_hub=hub.state_dict(),
    )
    path = str(tmp_path / 'iter_1.pth')
    torch.save(content, path)
    if loader == 'for this torch':
        loaded = load_plain(path)
    else:
        loaded = torch.load(path, pickle_module=plain_pickle(), weights_only=False)
    assert loaded['param_schedulers'] == content['param_schedulers']
    assert loaded['param_schedulers'][1]['milestones'] == {4: 1, 8: 1}
    momentum = loaded['optimizer']['state'][0]['momentum_buffer']
    assert torch.equal(momentum, torch.ones(2))
    assert loaded['message_hub']['log_scalars']['train/loss'].current() == 2.0
