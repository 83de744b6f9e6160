# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A GPU that torch cannot use is named in one line, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regionclip_mmdet.compat import cuda, warn_of_unusable_gpu, why_cuda_is_unusable

DRIVER = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021
GCC version:  gcc version 9.3.0
"""


@pytest.fixture()
def old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CUDA build of torch on a machine whose driver is too old for it."""
    file = tmp_path / 'version'
    file.write_text(DRIVER)
    monkeypatch.setattr(cuda, 'DRIVER_VERSION_FILE', file)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.delenv('RANK', raising=False)
    return file


def test_one_line_names_driver_build_and_remedy(
    old_driver: Path, capsys: pytest.CaptureFixture
) -> None:
    warn_of_unusable_gpu()
    message = capsys.readouterr().err
    assert message.count('\n') == 1
    assert 'the NVIDIA driver 470.82.01 ' in message and 'built for CUDA 13.0' in message
    assert torch.__version__ in message and 'Update the driver, or install' in message


@pytest.mark.parametrize('case', ['cpu build', 'usable', 'hidden', 'no driver', 'second process'])
def test_nothing_is_said_otherwise(
    case: str,
    old_driver: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    if case == 'cpu build':
        monkeypatch.setattr(torch.version, 'cuda', None)
    elif case == 'usable':
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    elif case == 'hidden':
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    elif case == 'no driver':
        old_driver.unlink()
    else:
        monkeypatch.setenv('RANK', '1')
    warn_of_unusable_gpu()
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
    ('case', 'reason'),
    [
        ('usable', None),
        ('cpu build', 'built without CUDA'),
        ('hidden', 'CUDA_VISIBLE_DEVICES hides all GPUs'),
        ('no driver', 'no NVIDIA driver'),
        ('old driver', 'the NVIDIA driver 470.82.01 of this machine does not serve torch'),
    ],
)
def test_reasons(
    case: str, reason: str | None, old_driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a skipped test says."""
    if case == 'cpu build':
        monkeypatch.setattr(torch.version, 'cuda', None)
    elif case == 'usable':
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    elif case == 'hidden':
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    elif case == 'no driver':
        old_driver.unlink()
    said = why_cuda_is_unusable()
    assert said is None if reason is None else reason in said
