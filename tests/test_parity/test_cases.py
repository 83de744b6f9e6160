# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Numbers recorded from the official code: every case in ``tests/data/golden``, and mutations."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from checks.parity import Comparison, find_cases, models, open_case, verify, zero_shot
from regionclip_mmdet.models import recognition
from regionclip_mmdet.models.localizers import RPNLocalizer
from regionclip_mmdet.models.region_encoders import region_align

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tests' / 'data' / 'golden'
CASES = find_cases(FOLDER)


def test_all_cases_are_here() -> None:
    letters = ''.join(name[0] for name in CASES)
    assert letters == 'aaabbbbbbcccccdefffffgghhhhhhhhhhh'


@pytest.mark.parametrize('name', CASES)
def test_case(name: str, device: torch.device) -> None:
    if device.type == 'cuda' and name == 'f_pretrain_gather2':
        pytest.skip('its processes talk by gloo and run on the CPU: make test')
    outcome = verify(CASES[name], device)
    assert outcome.passed, '\n'.join([outcome.line(), *outcome.failures()])


@pytest.mark.slow
@pytest.mark.parametrize('name', ['c_zeroshot_rpn', 'c_zeroshot_rpn_negobj'])
def test_detections_are_those_without_early_exit(name: str) -> None:
    comparison = Comparison(open_case(CASES[name]))
    zero_shot.run(comparison.case, comparison, early_exit=False)
    assert comparison.passed


def run_tool(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['verify_parity.py', *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'verify_parity.py'), run_name='__main__')
    return end.value.code


def change_built(monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module], None]) -> None:
    """Change every model after it was built from its config."""
    build = models.build

    def changed(config: dict) -> nn.Module:
        model = build(config)
        for module in model.modules():
            change(module)
        return model

    monkeypatch.setattr(models, 'build', changed)


def wrong_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    right = recognition.cosine_logits
    monkeypatch.setattr(recognition, 'cosine_logits', lambda x, y, t: right(x, y, 1.05 * t))


def no_half_pixel_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    right = region_align.axis_weights
    monkeypatch.setattr(
        region_align,
        'axis_weights',
        lambda start, end, *args: right(start + 0.5, end + 0.5, *args),
    )


def bgr_for_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: nn.Module) -> None:
        if hasattr(module, '_channel_conversion'):
            module._channel_conversion = False

    change_built(monkeypatch, change)


def padding_of_the_localizer(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RPNLocalizer.convert_inputs
    monkeypatch.setattr(
        RPNLocalizer,
        'convert_inputs',
        lambda self, x, shapes: right(self, x, [tuple(x.shape[-2:])] * len(shapes)),
    )


def padding_of_the_recognizer(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: nn.Module) -> None:
        if hasattr(module, 'pad_value'):
            module.pad_value = -1.7

    change_built(monkeypatch, change)


def norm_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: nn.Module) -> None:
        if hasattr(module, 'running_var'):
            module.eps = 1e-3

    change_built(monkeypatch, change)


def localizer_norm_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    norm_epsilon(monkeypatch)


@pytest.mark.parametrize(
    ('mutate', 'name'),
    [
        (wrong_temperature, 'c_zeroshot_gt'),
        (no_half_pixel_shift, 'a_backbone_rn50_odd'),
        (bgr_for_rgb, 'c_zeroshot_gt'),
        (padding_of_the_localizer, 'b_rpn_c4_nms09_top300'),
        (padding_of_the_recognizer, 'c_zeroshot_gt'),
        (norm_epsilon, 'a_backbone_rn50_odd'),
        (localizer_norm_epsilon, 'b_rpn_c4'),
    ],
)
def test_a_mutation_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    mutate(monkeypatch)
    assert run_tool(monkeypatch, FOLDER, '--only', name) == 1
    printed = capsys.readouterr().out
    assert f'FAIL  {name}' in printed and 'abs' in printed
    assert 'Error' not in printed, printed  # other numbers, no crash


def test_the_threads_and_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    threads = torch.get_num_threads()
    try:
        assert run_tool(monkeypatch, FOLDER, '--list') == 0
        assert capsys.readouterr().out.count('\n') == len(CASES)
        assert run_tool(monkeypatch, FOLDER, '--only', 'h_*ties', '--threads', 1) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert '1 of 1 cases pass' in capsys.readouterr().out
    assert run_tool(monkeypatch, FOLDER, '--only', 'nothing') == 2
    assert run_tool(monkeypatch, FOLDER / 'nowhere') == 2
