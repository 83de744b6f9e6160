# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""tools/embed_names.py with a cache, and its old name tools/concepts/embed_concepts.py."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import tiny_models
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.models.text import embedding_cache as cache_module

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'embed_names.py'
# Dies as the third file of the cache is written, before it has its name.
KILLED = f"""
import os, runpy, signal, sys
import regionclip_mmdet
from regionclip_mmdet.models.text import embedding_cache as module
module._NAMES_PER_FILE = 4
replace, done = os.replace, []
def dies(*paths):
    done.append(paths)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = dies
runpy.run_path({str(TOOL)!r}, run_name='__main__')
"""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a pool of 18 names, four to a file of the cache."""
    monkeypatch.setattr(cache_module, '_NAMES_PER_FILE', 4)
    pool = tmp_path / 'pool.txt'
    names = [f'{color} {thing}' for thing in ('cat', 'ball') for color in 'abcdefghi']
    pool.write_text(''.join(f'{name}\t{100 - k}\n' for k, name in enumerate(names)))
    weights = tiny_models.save_clip(tmp_path / 'clip.pth')
    sizes = json.dumps(tiny_models.TEXT_ARCH)
    return [str(pool), '--arch', sizes, '--weights', str(weights), '--device', 'cpu']


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, tool: Path = TOOL) -> None:
    monkeypatch.setattr(sys, 'argv', [tool.name, *arguments])
    runpy.run_path(str(tool), run_name='__main__')


def test_a_killed_run_goes_on_and_gives_the_same(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments += ['--templates', 'single', '--cache']
    straight, broken = tmp_path / 'straight' / 'pool.pth', tmp_path / 'broken' / 'pool.pth'
    run(monkeypatch, *arguments, '-o', str(straight))
    died = subprocess.run(
        [sys.executable, '-c', KILLED, *arguments, '-o', str(broken)],
        # as many threads as here: on some CPUs other numbers round otherwise
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS=str(torch.get_num_threads())),
        capture_output=True,
        text=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    cache = broken.parent / 'embedding_cache'
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob('*.pth')}
    assert len(kept) == 2 and not broken.exists()
    run(monkeypatch, *arguments, '-o', str(broken))
    assert len(list(cache.rglob('*.pth'))) == 5
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    expected, made = TextEmbeddings.load(straight), TextEmbeddings.load(broken)
    assert made.names == expected.names and len(made) == 18
    assert made.names[0] == 'a cat' and made.provenance == expected.provenance
    assert torch.equal(made.matrix, expected.matrix)


def test_without_a_cache(
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    with_cache, without, other = (tmp_path / name / 'pool.pth' for name in 'abc')
    old = ROOT / 'tools' / 'concepts' / 'embed_concepts.py'
    with pytest.warns(FutureWarning, match='is now tools/embed_names.py'):
        run(monkeypatch, *arguments, '-o', str(with_cache), tool=old)
    assert f'kept in {with_cache.parent / "embedding_cache"}' in capsys.readouterr().out
    run(monkeypatch, *arguments, '-o', str(without), '--no-cache', tool=old)
    assert '18 names, width 32, 81 prompts each' in capsys.readouterr().out
    run(monkeypatch, *arguments, '-o', str(other))
    expected = TextEmbeddings.load(with_cache)
    for path in (without, other):
        assert [p.name for p in path.parent.iterdir()] == ['pool.pth']
        torch.testing.assert_close(TextEmbeddings.load(path).matrix, expected.matrix)


@pytest.mark.parametrize(
    'more', [['-o', 'pool.txt'], ['-o', 'p.pth', '--batch-size', '0'],
             ['-o', 'p.pth', '--cache', 'folder', '--no-cache']]
)  # fmt: skip
def test_wrong_commands(
    arguments: list[str], more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match='2'):
        run(monkeypatch, *arguments, *more)
