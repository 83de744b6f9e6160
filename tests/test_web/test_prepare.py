# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``make test-web`` finds a browser, installs one, or says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'requirements' / 'prepare_web_tests.sh'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """All that the script can call: a root without a browser whose packages have none."""
    folder = tmp_path / 'programs'
    folder.mkdir()
    for name in ('bash', 'dirname'):
        (folder / name).symlink_to(shutil.which(name))
    program(folder / 'id', 'echo 0')
    program(folder / 'apt-get', '[ "$1" = update ] || { echo "E: no candidate" >&2; exit 100; }')
    return folder


def program(path: Path, commands: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!{shutil.which("bash")}\n{commands}\n')
    path.chmod(0o755)
    return path


def prepare(programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    python = program(programs.parent / 'venv' / 'bin' / 'python', 'echo "called with $*"')
    return subprocess.run(
        [programs / 'bash', SCRIPT, python.parents[1]],
        env=dict(PATH=os.fspath(programs), **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def test_packages_without_a_browser(programs: Path) -> None:
    done = prepare(programs)
    assert done.returncode == 1 and 'called' not in done.stdout
    assert 'regionclip_mmdet: no Chromium. Install one as root' in done.stderr


def test_a_browser_is_installed(programs: Path) -> None:
    browser = programs / 'chromium'
    chmod = shutil.which('chmod')
    program(
        programs / 'apt-get', f'[ "$1" = update ] || {{ : > {browser}; {chmod} +x {browser}; }}'
    )
    done = prepare(programs)
    assert done.returncode == 0, done.stderr
    assert 'playwright' in done.stdout


def test_a_browser_that_is_named(programs: Path, tmp_path: Path) -> None:
    browser = program(tmp_path / 'a folder' / 'browser', 'exit 0')
    done = prepare(programs, CHROMIUM=str(browser))
    assert done.returncode == 0 and 'Installing Chromium' not in done.stdout
    missing = prepare(programs, CHROMIUM='/nowhere')
    assert missing.returncode == 1 and 'no Chromium at CHROMIUM=/nowhere' in missing.stderr
