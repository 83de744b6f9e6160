# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the ``device`` fixture changes is put back; no GPU is needed to see it."""

from __future__ import annotations

import pytest
import torch

from helpers.devices import full_float32


def settings() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize('before', [(True, False), (False, True)])
@pytest.mark.parametrize('fails', [False, True])
def test_full_float32_lasts_no_longer_than_its_test(before: tuple[bool, bool], fails: bool) -> None:
    found = settings()
    try:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        try:
            with full_float32():
                assert settings() == (False, False)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert settings() == before
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = found
