# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What tests with the ``device`` fixture need beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


def require_one_each(processes: int, device: torch.device) -> None:
    """Skip the test unless every process has a GPU of its own, if it is about GPUs."""
    if device.type == 'cuda' and torch.cuda.device_count() < processes:
        pytest.skip(f'{processes} GPUs are needed, {torch.cuda.device_count()} is here')


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 matrices are not rounded to TF32 on a GPU within.

    Saved and restored by hand: these settings live in no ``__dict__``, so that recent versions of
    pytest's monkeypatch would delete them instead of restoring them, which torch refuses.
    """
    holders = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [holder.allow_tf32 for holder in holders]
    for holder in holders:
        holder.allow_tf32 = False
    try:
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            holder.allow_tf32 = value
