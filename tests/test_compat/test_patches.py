# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The list of patches of other packages: complete, switchable, safe to apply twice."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from mmengine.utils import ManagerMixin

from regionclip_mmdet.compat import PATCHES, Patch, apply_patches
from regionclip_mmdet.compat.patches import SWITCH

NAMES = [patch.name for patch in PATCHES]


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the patches that would be applied."""
    names: list[str] = []
    monkeypatch.setattr(Patch, 'apply', lambda patch: names.append(patch.name))
    return names


@pytest.mark.parametrize(
    ('value', 'left_out'),
    [('', set()), ('none', set(NAMES)), ('lvis_numpy, operators', {'lvis_numpy', 'operators'})],
)
def test_the_switch(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    applied: list[str],
    value: str,
    left_out: set[str],
) -> None:
    monkeypatch.setenv(SWITCH, value)
    with caplog.at_level(logging.DEBUG, 'regionclip_mmdet'):
        apply_patches()
    assert applied == [name for name in NAMES if name not in left_out]
    (record,) = caplog.records
    assert record.getMessage().endswith(': ' + (', '.join(applied) or 'none'))


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, applied: list[str]) -> None:
    monkeypatch.setenv(SWITCH, 'lvis')
    with pytest.raises(ValueError, match='names lvis, but the patches are: operators, '):
        apply_patches()
    assert not applied


def test_the_page_lists_them() -> None:
    page = Path(__file__).resolve().parents[2] / 'docs' / 'installation.md'
    text = page.read_text()
    assert SWITCH in text and all(f'| `{name}` |' in text for name in NAMES)


def test_each_may_be_applied_again() -> None:
    for patch in PATCHES:
        assert patch.changes and patch.why
        patch.apply()


class Managed(ManagerMixin):
    """An object as mmengine's loggers, visualizers and scopes are."""

    def __init__(self, name: str, fail: bool = False, inner: bool = False) -> None:
        super().__init__(name)
        if inner:  # as a logger that looks for the name of the experiment
            with pytest.raises(RuntimeError):
                Other.get_current_instance()
        if fail:
            raise OSError('no space')


class Other(ManagerMixin):
    """Never created."""


def test_the_lock_of_global_instances_is_free_after_errors() -> None:
    with pytest.raises(OSError, match='no space'):
        Managed.get_instance('broken', fail=True)
    with pytest.raises(RuntimeError):
        Other.get_current_instance()
    Managed.get_instance('nested', inner=True)
    found: list[Managed] = []
    thread = threading.Thread(
        target=lambda: found.append(Managed.get_instance('whole')), daemon=True
    )
    thread.start()
    thread.join(10)
    assert [one.instance_name for one in found] == ['whole']
