# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tools as processes: their output is kept, their failures are told, none is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from checks.pretraining import commands
from checks.pretraining.commands import CommandFailed


def test_tools_are_found() -> None:
    assert (commands.TOOLS / 'data' / 'pack_shards.py').is_file()


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in place of any of our tools."""
    monkeypatch.setattr(commands, 'TOOLS', tmp_path)
    return tmp_path / 'some.py'


def test_output_is_kept(tool: Path, tmp_path: Path) -> None:
    tool.write_text('import sys; print(sys.argv[1:]); print("late", file=sys.stderr)')
    text = commands.run_tool('some.py', ['a', 3], tmp_path / 'logs' / 'some.log')
    assert text.splitlines()[0].endswith(f'{tool} a 3') and text.startswith('$ ')
    assert "['a', '3']" in text and 'late' in text
    assert (tmp_path / 'logs' / 'some.log').read_text() == text


def test_failures_are_told(tool: Path, tmp_path: Path) -> None:
    tool.write_text('raise SystemExit("out of paper")')
    with pytest.raises(CommandFailed) as found:
        commands.run_tool('some.py', [], tmp_path / 'some.log')
    text = str(found.value)
    assert text.startswith(f'tools/some.py ended with exit code 1; the end of {tmp_path}/some.log')
    assert 'out of paper' in text


def test_an_end_before_the_condition(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    log.write_text('last words')
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        with pytest.raises(CommandFailed, match=r'ended before iteration 7(.|\n)*last words'):
            commands.wait_until(lambda: False, process, log, 'iteration 7')
    commands.wait_until(lambda: True, process, log, 'iteration 7')


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    command = [sys.executable, '-c', 'import time; time.sleep(600)']
    with pytest.raises(KeyboardInterrupt):
        with commands._begin(command, tmp_path / 'log') as process:
            assert commands.wait_for_end(process, 0.01) is None
            assert not commands.gone(process.pid, within=0)
            raise KeyboardInterrupt
    assert process.returncode == -15 and commands.gone(process.pid, within=0)
