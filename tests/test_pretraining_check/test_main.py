# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Command line of the check, and all of it at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.pretraining import main as module
from checks.pretraining.checks import Check
from checks.pretraining.commands import CommandFailed
from checks.pretraining.main import main, parse_args
from checks.pretraining.run_sizes import SMOKE
from checks.pretraining.stages import all_stages
from examples.quickstart.workspace import Job, Stage


def test_arguments(tmp_path: Path) -> None:
    assert parse_args([]).processes == 2
    for wrong in (['--processes', '0'], ['--weights', str(tmp_path)]):
        with pytest.raises(SystemExit):
            parse_args(wrong)


def test_every_input_is_an_earlier_stage() -> None:
    seen: set[str] = set()
    for stage in all_stages(SMOKE, 2, None, False):
        assert set(stage.needs) <= seen
        seen.add(stage.name)


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: dict, *arguments: str) -> int:
    """The check with stages that only return or raise what they are told."""

    def outcome(job: Job) -> dict:
        value = outcomes[job.stage.name]
        if isinstance(value, Exception):
            raise value
        return dict(told='told', checks=[Check('what', job.stage.name, value)])

    stages = [Stage(name, f'Stage {name}', outcome) for name in outcomes]
    monkeypatch.setattr(module, 'all_stages', lambda *args: stages)
    return main(['--work-dir', str(tmp_path), *arguments])


def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, dict(a=True, b=False, c=True)) == 1
    told = capsys.readouterr().out
    assert 'ok   what: a' in told and 'FAIL what: b' in told and '3 checks, 1 failed' in told
    # what failed, and what comes after it, is tried again
    assert run(tmp_path, monkeypatch, dict(a=False, b=True, c=True)) == 0
    told = capsys.readouterr().out
    assert told.count('done before') == 1 and 'Stage a: done before' in told
    (tmp_path / 'b' / 'done.json').unlink()
    assert run(tmp_path, monkeypatch, dict(a=False, b=True, c=False)) == 1
    assert run(tmp_path, monkeypatch, dict(a=False, b=True, c=True), '--fresh') == 1


def test_a_stage_that_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = dict(a=True, b=CommandFailed('tools/x.py ended'), c=True)
    assert run(tmp_path, monkeypatch, outcomes) == 1
    told = capsys.readouterr().out
    assert 'FAIL Stage b: tools/x.py ended' in told and 'Stage c' not in told


@pytest.mark.slow
def test_the_whole_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ('textblob', 'simplemma'):
        pytest.importorskip(package)
    code = main(['--smoke', '--work-dir', str(tmp_path)])
    told = capsys.readouterr().out
    assert code == 0, told
    assert told.count('69 samples once, the first 1 again as padding') == 2
    assert 'complete passes: 2 of 2' in told and 'FAIL' not in told
    assert 'list of pairs to leave out: 3 pairs (expected 3)' in told
    # with the undecodable image among the data another comes in its place
    assert main(['--smoke', '--work-dir', str(tmp_path), '--keep-undecodable']) == 0
    told = capsys.readouterr().out
    assert told.count('70 samples once, others in place of 1 broken ones') == 2
    assert told.count('done before') == 5
