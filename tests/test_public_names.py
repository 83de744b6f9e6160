# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names that users may have written down still work: in Python, as ``type=``, and of configs.

``data/public_names.json`` was recorded before the reorganization of version 0.2: the ``__all__`` of
every package, the classes in mmdet's registries, and of every config the number of tensors of its
model and the SHA-256 of their names and shapes. A name that was changed warns once.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import mmdet.registry
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from regionclip_mmdet import config_path, renames

RECORDED = json.loads((Path(__file__).parent / 'data' / 'public_names.json').read_text())


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings of old names come once in a process."""
    monkeypatch.setattr(renames, '_warned', set())


@pytest.mark.parametrize('module', RECORDED['public'])
def test_names_can_be_imported(module: str) -> None:
    package = importlib.import_module(module)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for name in RECORDED['public'][module]:
            before = len(caught)
            assert getattr(package, name) is getattr(package, name)
            said = [w for w in caught[before:] if issubclass(w.category, FutureWarning)]
            assert len(said) == (name not in package.__all__), f'{module}.{name}'


@pytest.mark.parametrize('registry', RECORDED['registered'])
def test_types_are_registered(registry: str) -> None:
    known = getattr(mmdet.registry, registry).module_dict
    assert [name for name in RECORDED['registered'][registry] if name not in known] == []


def test_base_configs_are_there() -> None:
    for name in RECORDED['bases']:
        config_path(name)


@pytest.mark.parametrize('name', RECORDED['configs'])
def test_configs_build_the_same_models(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        model = Config.fromfile(config_path(name)).get('model')
        found = {} if model is None else state_dict_of(json.dumps(model, default=str))
    assert found == RECORDED['configs'][name]


@functools.cache
def state_dict_of(model: str) -> dict[str, Any]:
    """What is recorded of a model's state dict; its config is JSON, for the cache."""
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        state = mmdet.registry.MODELS.build(ConfigDict(json.loads(model))).state_dict()
    shapes = json.dumps({key: list(tensor.shape) for key, tensor in state.items()}, sort_keys=True)
    return dict(sha256=hashlib.sha256(shapes.encode()).hexdigest(), tensors=len(state))
