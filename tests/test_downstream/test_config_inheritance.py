# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Another project takes our configs, with the package from a wheel and editable.

Whatever the way, what it gets is the config: that of the file read directly. One process for each
layout tries every way, in an order in which the package is not imported too early.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mmdet.registry
import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

from helpers.installed_layouts import Layout
from regionclip_mmdet import config_path
from regionclip_mmdet.registry import REGISTRIES

NAME = 'quickstart/transfer.py'
FILES = {
    'by_path.py': f"_base_ = [__import__('regionclip_mmdet').config_path('{NAME}')]\nmine = 5\n",
    'by_scope.py': f"_base_ = 'regionclip_mmdet::{NAME}'\nmine = 5\n",
    'bridge.py': (
        "globals().update(__import__('mmengine').Config.fromfile(\n"
        f"    __import__('regionclip_mmdet').config_path('{NAME}')).to_dict())\n"
    ),
    'new_style.py': (
        'from mmengine.config import read_base\n\n'
        'with read_base():\n    from .bridge import *\n\n'
        'mine = 5\nmodel.update(dict(test_cfg=dict(rcnn=dict(max_per_img=7))))\n'
    ),
}
SCRIPT = f"""
import contextlib, io, json, sys
from mmengine.config import Config
answers = {{}}
try:
    Config.fromfile('by_scope.py')
except AssertionError as error:
    answers['refused'] = str(error)
assert 'regionclip_mmdet' not in sys.modules
for name in ('by_path', 'by_scope', 'new_style'):
    answers[name] = Config.fromfile(name + '.py').to_dict()
from mmdet.registry import MODELS
from mmengine.hub import get_config, get_model
from mmengine.registry import DefaultScope
answers['hub'] = get_config('regionclip_mmdet::{NAME}').to_dict()
base = get_config('regionclip_mmdet::_base_/models/regionclip_rn50_c4.py')
answers['without_metafile'] = base.model.type
count = lambda model: sum(p.numel() for p in model.parameters())
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    model = get_model('regionclip_mmdet::{NAME}', pretrained=False)
    answers['hub_model'] = [type(model).__name__, count(model)]
    answers['scope_afterwards'] = str(DefaultScope.get_current_instance())
    DefaultScope.get_instance('run', scope_name='mmdet')
    model = MODELS.build(Config.fromfile('by_scope.py').model)
    answers['scoped_model'] = [type(model).__name__, count(model)]
answers['said'] = said.getvalue()
print(json.dumps(answers))
"""


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What every way gave, and what was said while models were built."""
    layout: Layout = request.getfixturevalue(f'{request.param}_layout')
    folder: Path = tmp_path_factory.mktemp('project')
    for name, text in FILES.items():
        (folder / name).write_text(text)
    done = layout.python(SCRIPT, folder)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    answers['said'] += done.stderr  # mmengine's logger keeps the stream it began with
    return answers


def direct() -> dict[str, Any]:
    """The settings of the file itself."""
    return json.loads(json.dumps(Config.fromfile(config_path(NAME)).to_dict()))


def taken_scopes(value: Any) -> list[str]:
    """Remove and return every ``_scope_``."""
    if isinstance(value, list):
        return [scope for item in value for scope in taken_scopes(item)]
    if not isinstance(value, dict):
        return []
    own = [value.pop('_scope_')] if '_scope_' in value else []
    return own + [scope for item in value.values() for scope in taken_scopes(item)]


def test_by_path_without_an_import(answers: dict[str, Any]) -> None:
    assert answers['by_path'] == {**direct(), 'mine': 5}


def test_by_scope_after_an_import(answers: dict[str, Any]) -> None:
    settings = answers['by_scope']
    found = taken_scopes(settings)
    assert found and set(found) == {'regionclip_mmdet'}
    assert settings == {**direct(), 'mine': 5}


def test_by_scope_needs_an_import(answers: dict[str, Any]) -> None:
    # as docs/downstream.md says
    assert 'does not support to load regionclip_mmdet config' in answers['refused']


def test_new_style_by_a_bridge(answers: dict[str, Any]) -> None:
    expected = {**direct(), 'mine': 5}
    assert expected['model']['test_cfg']['rcnn']['max_per_img'] == 100
    expected['model']['test_cfg']['rcnn']['max_per_img'] = 7
    assert answers['new_style'] == expected


def test_hub(answers: dict[str, Any]) -> None:
    assert answers['hub'] == direct()
    assert answers['without_metafile'] == 'OpenVocabularyRCNN'


def test_models_of_the_scope_are_built_quietly(answers: dict[str, Any]) -> None:
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(config_path(NAME)).model)
    expected = ['OpenVocabularyRCNN', sum(p.numel() for p in model.parameters())]
    assert answers['hub_model'] == answers['scoped_model'] == expected
    assert answers['scope_afterwards'] == 'None'  # the hub's own scope is gone again
    # OneDL's mmdet says of itself, whenever it is imported, that it could have one metric more
    said = [line for line in answers['said'].splitlines() if 'faster_coco_eval' not in line]
    for complaint in ('WARNING', 'Failed to', 'workaround', 'is not installed'):
        assert not any(complaint in line for line in said), answers['said']


def test_registries_of_the_scope_have_what_mmdets_have() -> None:
    parents = {k: v for k, v in vars(mmdet.registry).items() if isinstance(v, Registry)}
    parents = {k: v for k, v in parents.items() if not k.startswith('MMENGINE_')}
    assert set(REGISTRIES) == set(parents)
    for name, parent in parents.items():
        assert len(REGISTRIES[name]) == 0
        for key in [*parent.module_dict][:3] + [*parent.module_dict][-3:]:
            assert REGISTRIES[name].get(key) is parent.get(key)
