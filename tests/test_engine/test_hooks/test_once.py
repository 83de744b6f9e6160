# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The runtime's hooks survive a config's ``custom_hooks``, and none is there twice."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.runner import Runner

from helpers import toy_training
from regionclip_mmdet import config_path
from regionclip_mmdet.engine.hooks import NonFiniteLossHook, OnceHook

DEFAULT = [
    'ResumeHook', 'RequiredFilesHook', 'VocabularyCheckHook', 'DatasetCheckHook',
    'BatchSizeCheckHook', 'AccumulationCheckHook', 'NonFiniteLossHook', 'SaveOnSignalHook',
]  # fmt: skip
PRETRAIN = [*DEFAULT, 'ThroughputHook', 'BrokenImagesHook', 'PseudoLabelVisualizationHook']
_names = itertools.count()


@HOOKS.register_module()
class OwnLossHook(NonFiniteLossHook):
    """What a user might derive from one of ours."""


def hooks_of(folder: Path, text: str, runtime: str = 'default_runtime') -> list[Any]:
    """Hooks of a run whose config inherits a runtime, after its ``before_run``."""
    path = folder / 'own.py'
    path.write_text(f'_base_ = [{config_path(f"_base_/{runtime}.py")!r}]\n{text}')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(
        {
            k: v
            for k, v in toy_training.config().items()
            if 'hooks' not in k and k != 'log_processor'
        }
    )
    cfg.merge_from_dict(
        dict(work_dir=str(folder / 'run'), experiment_name=f'once_{next(_names)}', visualizer=None)
    )
    runner = Runner.from_cfg(cfg)
    runner.call_hook('before_run')
    return [hook for hook in runner.hooks if isinstance(hook, OnceHook)]


@pytest.mark.parametrize(
    ('runtime', 'expected'), [('default_runtime', DEFAULT), ('pretrain_runtime', PRETRAIN)]
)
@pytest.mark.parametrize(
    'text',
    [
        '',
        'custom_hooks = []',
        "custom_hooks = [dict(type='Diary')]",
        "custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook')]",
        "custom_hooks = [dict(type='DatasetCheckHook'), dict(type='SaveOnSignalHook')]",
    ],
)
def test_all_are_there_once(tmp_path: Path, runtime: str, expected: list[str], text: str) -> None:
    found = [type(hook).__name__ for hook in hooks_of(tmp_path, text, runtime)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ("custom_hooks = [dict(type='NonFiniteLossHook', skip=7)]", [(NonFiniteLossHook, 7)]),
        # before the runtime's in the order of calls, which says nothing
        (
            "custom_hooks = [dict(type='NonFiniteLossHook', skip=7, priority='HIGHEST')]",
            [(NonFiniteLossHook, 7)],
        ),
        ("custom_hooks = [dict(type='OwnLossHook', skip=3)]", [(OwnLossHook, 3)]),
        ('default_hooks = dict(non_finite_loss=dict(skip=5))', [(NonFiniteLossHook, 5)]),
        ("default_hooks = dict(non_finite_loss=dict(_delete_=True, type='NoHook'))", []),
    ],
)
def test_a_configs_own_settings_win(tmp_path: Path, text: str, expected: list) -> None:
    hooks = hooks_of(tmp_path, text)
    found = [(type(h), h.skip) for h in hooks if isinstance(h, NonFiniteLossHook)]
    assert found == expected
