# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Markers: what counts as done, what is refused."""

import json
from pathlib import Path

import pytest

from examples.quickstart.workspace import (
    MARKER,
    Job,
    Stage,
    StageInputMissing,
    Workspace,
    select_stages,
)


def _stages(calls: list[str], width: int = 1) -> list[Stage]:
    def run(job: Job) -> dict:
        calls.append(job.stage.name)
        (job.folder / 'out.txt').write_text(job.stage.name)
        return dict(value=len(calls))

    return [
        Stage('a', 'first', run, settings=dict(width=width)),
        Stage('b', 'second', run, ('a',)),
        Stage('c', 'third', run, ('b',)),
    ]


def _run_all(workspace: Workspace, stages: list[Stage]) -> None:
    for stage in stages:
        if not workspace.is_done(stage):
            workspace.run(stage)


def test_finished_stages_are_not_repeated(tmp_path: Path) -> None:
    calls: list[str] = []
    _run_all(Workspace(tmp_path), _stages(calls))
    _run_all(Workspace(tmp_path), _stages(calls))
    assert calls == ['a', 'b', 'c']
    assert Workspace(tmp_path).marker('b')['result'] == dict(value=2)


def test_changed_settings_redo_the_stage_and_all_after_it(tmp_path: Path) -> None:
    calls: list[str] = []
    workspace = Workspace(tmp_path)
    _run_all(workspace, _stages(calls))
    _run_all(workspace, _stages(calls, width=2))
    assert calls == ['a', 'b', 'c'] * 2


def test_interrupted_stage_is_not_done(tmp_path: Path) -> None:
    calls: list[str] = []
    workspace = Workspace(tmp_path)
    stages = _stages(calls)
    workspace.run(stages[0])

    def fail(job: Job) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.run(Stage('a', 'first', fail, settings=dict(width=1)))
    assert not workspace.is_done(stages[0])
    assert workspace.marker('a') == {}


def test_damaged_marker_is_not_done(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    stage = _stages([])[0]
    workspace.run(stage)
    (tmp_path / 'a' / MARKER).write_text('{"key": ')
    assert not workspace.is_done(stage)


def test_missing_input_names_stage_file_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(StageInputMissing) as error:
        Workspace(tmp_path).run(_stages([])[1])
    for words in ("'b'", str(tmp_path / 'a' / MARKER), '--only a'):
        assert words in str(error.value)


def test_marker_is_readable_json(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.run(_stages([])[0])
    content = json.loads((tmp_path / 'a' / MARKER).read_text())
    assert content['settings'] == dict(width=1)
    assert content['seconds'] >= 0


def test_selection() -> None:
    stages = _stages([])
    names = lambda chosen: [s.name for s in chosen]  # noqa: E731
    assert names(select_stages(stages)[0]) == ['a', 'b', 'c']
    assert select_stages(stages)[1] == set()
    chosen, forced = select_stages(stages, only=['b'])
    assert (names(chosen), forced) == (['b'], {'b'})
    assert names(select_stages(stages, skip=['a'])[0]) == ['b', 'c']
    chosen, forced = select_stages(stages, start='b')
    assert (names(chosen), forced) == (['b', 'c'], {'b', 'c'})
    with pytest.raises(ValueError, match='No such stage: d'):
        select_stages(stages, only=['d'])
