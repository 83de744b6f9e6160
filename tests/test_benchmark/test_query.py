# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What questions cost."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.commands import query
from helpers import tiny_models


def test_at_a_tiny_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    query.add_arguments(parser)
    args = parser.parse_args(
        '--names 3 2000 --image-size 64 96 --proposals 20 --nms soft --objectness logit '
        '--repeats 1'.split()
    )
    args.arch = tiny_models.ARCH
    found = query.run(args)
    json.dumps(found)
    told = capsys.readouterr().out
    assert 'for 20 regions' in told and '| 2000 |' in told
    few, many = found['questions']
    assert (few['names'], few['limit'], many['limit']) == (3, 2.0, 20.0)
    for row in found['questions']:
        assert row['percent'] == pytest.approx(100 * row['seconds'] / found['encoding'])
        assert row['detections'] > 0


def test_limits() -> None:
    assert query.row(1203, 0.02, 1.0, 5.0, 9)['within'] is True
    assert query.row(1203, 0.021, 1.0, 5.0, 9)['within'] is False
    assert query.row(20_000, 0.19, 1.0, 5.0, 9)['within'] is True
    beyond = query.row(20_001, 0.5, 1.0, 5.0, 9)
    assert beyond['limit'] is beyond['within'] is None
    table = query.format_rows([query.row(1204, 0.21, 1.0, 5.0, 9), beyond])
    assert '| 1204 | 0.210 | 21.00 | 20 | NO | 5 | 9 |' in table
    assert '| 20001 | 0.500 | 50.00 | - | - | 5 | 9 |' in table


def test_tool() -> None:
    tool = Path(__file__).parents[2] / 'tools' / 'benchmark.py'
    words = 'query --image-size 64 64 --proposals 4 --names 3 1203 --repeats 1 --threads 1'.split()
    done = subprocess.run([sys.executable, tool, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'for 4 regions' in done.stdout and '| 1203 |' in done.stdout
    assert 'init' not in done.stdout
