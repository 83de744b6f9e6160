# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Times by part, the table, the tool."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import (
    SWITCHES,
    WORKLOADS,
    Measurement,
    Result,
    Settings,
    format_report,
    part_times,
    timing,
)
from benchmarks.report import difference

# the package has a function of the same name
measuring = importlib.import_module('benchmarks.measure')
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


class Clock:
    """Time that passes only when a step says so."""

    def __init__(self, *durations: float) -> None:
        self.time, self.durations = 0.0, iter(durations)

    def __call__(self, device: object = None) -> float:
        return self.time

    def step(self) -> float:
        self.time += next(self.durations)
        return self.time


def test_the_time_of_a_step_is_the_median_after_warming_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100, 90, 50, 3, 1, 8)
    monkeypatch.setattr(timing, 'now', clock)
    assert timing.median_seconds(clock.step, 3) == (3, 252)
    with pytest.raises(StopIteration):
        clock.step()


class Task:
    """A workload of two parts: 4 s in the encoder, 1 s beside it, and 0.5 s if it is watched."""

    parts = dict(encoder='roi_head.region_encoder')
    rest = 'the rest'
    instance: Task

    def __init__(self, settings: object) -> None:
        del settings
        encoder = nn.Module()
        encoder.roi_align = nn.Identity()
        encoder.forward = lambda: encoder.roi_align(torch.zeros(3, 2), torch.zeros(7, 5))
        encoder.roi_align.forward = self.align
        self.model = nn.Module()
        self.model.roi_head = nn.Module()
        self.model.roi_head.region_encoder = encoder
        self.clock, self.watched = Clock(), []
        Task.instance = self

    def align(self, maps: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        self.clock.time += 4
        return maps

    def step(self) -> dict:
        hooks = [m for m in self.model.modules() if m._forward_hooks or m._forward_pre_hooks]
        self.watched.append(len(hooks))
        self.clock.time += 1.5 if hooks else 1
        self.model.roi_head.region_encoder()
        return dict(scores=torch.tensor([0.5]))


def test_nothing_looks_into_a_step_while_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU every border of a stage waits; stages get steps of their own."""
    monkeypatch.setitem(WORKLOADS, 'inference', Task)
    for module in (timing, measuring):
        monkeypatch.setattr(module, 'now', lambda device: Task.instance.clock.time)
    everything = [name for name, (_, users, _) in SWITCHES.items() if 'inference' in users]
    found = measuring._measure_here('inference', Settings(), everything, 2, 0, False, 3)
    assert Task.instance.watched == [0] * (3 + 2) + [2, 2]
    assert found.total == 5
    assert found.parts == {'encoder': 4, 'the rest': 1.5}
    assert found.regions == 7 and found.outputs['scores'].tolist() == [0.5]


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
        '--image-size 64 96 --proposals 4 --names 3 --repeats 1 --warm-ups 1 --no-localizer '
        '--flops --only pool'
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
    assert 's: median of 1 steps after 1 to warm up, nothing in between.' in done.stdout
    for row in rows:
        assert all(seconds >= 0 for seconds in row['parts'].values()) and row['total'] > 0
        assert row['regions'] == (4 if workload == 'inference' else 4 * 2 + 2)
