# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""tools/concepts/build_concept_pool.py, from captions to a list of names."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from regionclip_mmdet.recipes.name_lists import read_names

TOOL = Path(__file__).parents[2] / 'tools' / 'concepts' / 'build_concept_pool.py'
NOT_INSTALLED = 'installed without its dependencies'


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, 'argv', ['build_concept_pool.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / 'captions.txt'
    path.write_text(
        'A dog with two balls.\nThe dogs near a fire truck\n\nA dog with two balls.\n!\n'
    )
    return path


def test_a_pool_of_captions(
    tmp_path: Path,
    captions: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    pytest.importorskip('textblob', reason=NOT_INSTALLED)
    pytest.importorskip('simplemma', reason=NOT_INSTALLED)
    official = tmp_path / 'official.txt'
    official.write_text('dog,500\nman,400\n')
    for processes in (1, 2):
        out = tmp_path / f'pool{processes}.txt'
        run(
            monkeypatch, captions, '-o', out, '--min-count', '2', '--processes', processes,
            '--compare', official,
        )  # fmt: skip
        assert out.read_text() == 'dog\t3\nball\t2\n'
        said = capsys.readouterr().out
        assert 'captions: 4 read, 1 of them name nothing; 1 empty or broken ones left out' in said
        assert '4 raw, 2 kept (named at least 2 times); 5 of 7 mentions kept' in said
        assert 'in both: 1, which is 50.0% of the first (2) and 50.0% of the second (2)' in said
    assert read_names(str(out)) == ('dog', 'ball')
    run(monkeypatch, captions, '-o', out, '--min-count', '1', '--kind', 'phrases')
    assert out.read_text() == 'dog\t3\nball\t2\nfire truck\t1\n'


def test_nothing_is_written_if_nothing_is_frequent(
    tmp_path: Path, captions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('textblob', reason=NOT_INSTALLED)
    pytest.importorskip('simplemma', reason=NOT_INSTALLED)
    out = tmp_path / 'pool.txt'
    out.write_text('the old one\n')
    with pytest.raises(SystemExit, match='was not written: no concept is named 100 times'):
        run(monkeypatch, captions, '-o', out)
    assert out.read_text() == 'the old one\n'


def test_existing_pools_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    first, second = tmp_path / 'a.txt', tmp_path / 'b.txt'
    first.write_text('dog\t5\n')
    second.write_text('dog,9\n')
    run(monkeypatch, '-o', first, '--compare', second)
    assert 'in both: 1, which is 100.0% of the first (1)' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='no concept pool .*absent.txt'):
        run(monkeypatch, '-o', first, '--compare', tmp_path / 'absent.txt')


@pytest.mark.parametrize(
    'arguments', [['-o', 'pool.txt'], ['c.txt', '-o', 'pool.pth'],
                  ['c.txt', '-o', 'pool.txt', '--processes', '0']]
)  # fmt: skip
def test_wrong_commands(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match='2'):
        run(monkeypatch, *arguments)
