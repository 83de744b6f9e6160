# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Times by part, the table, the tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from regionclip_mmdet.benchmark import Measurement, Result, format_report, part_times
from regionclip_mmdet.benchmark.report import difference

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'


def measurement(total: float, scores: list[float]) -> Measurement:
    outputs = dict(scores=torch.tensor(scores), labels=torch.zeros(len(scores)))
    return Measurement(total, dict(layer4=total / 2, rest=total / 2), 100.0, outputs, 7)


def test_parts_are_counted_while_asked_and_only_then() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with part_times(model, dict(first='0')) as seconds:
        model(torch.zeros(1, 2))
        once = seconds['first']
        model(torch.zeros(1, 2))
    assert 0 < once < seconds['first']
    twice = seconds['first']
    model(torch.zeros(1, 2))
    assert seconds['first'] == twice


def test_report_compares_with_the_first_row() -> None:
    rows = [
        Result((), measurement(6.0, [0.5, 0.25])),
        Result(('pool',), measurement(2.0, [0.5, 0.2])),
    ]
    table = format_report(rows).splitlines()
    assert table[0].split(' | ')[:3] == ['| speed-ups', 's', 'times as fast']
    assert table[2].split(' | ') == ['| none', '6', '1.00', '3', '3', '7', '100', '0.0e+00 |']
    assert table[3].split(' | ') == ['| + pool', '2', '3.00', '1', '1', '7', '100', '5.0e-02 |']


def test_another_number_of_detections_is_an_infinite_difference() -> None:
    base = measurement(1.0, [0.5, 0.25])
    assert difference(base, measurement(1.0, [0.5])) == float('inf')
    assert difference(base, measurement(1.0, [0.5, float('nan')])) == float('inf')
    assert difference(base, measurement(1.0, [0.5, 0.25])) == 0


@pytest.mark.slow
@pytest.mark.parametrize('workload', ['inference', 'pretrain'])
def test_tool_measures_both_workloads(workload: str, tmp_path: Path) -> None:
    out = tmp_path / 'numbers.json'
    options = (
        '--image-size 64 96 --proposals 4 --names 3 --repeats 1 --no-localizer --flops --only pool'
    )
    command = [sys.executable, str(TOOL), workload, *options.split(), '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '| + pool |' in done.stdout
    rows = json.loads(out.read_text())['rows']
    assert [row['switched_on'] for row in rows] == [[], ['pool']]
    assert rows[0]['flops'] is None
    assert rows[1]['flops'] > 1e8
    assert 'TFLOP per image' in done.stdout
    for row in rows:
        assert sum(row['parts'].values()) == pytest.approx(row['total'])
        assert row['regions'] == (4 if workload == 'inference' else 4 * 2 + 2)
