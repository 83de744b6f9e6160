# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What tests with the ``device`` fixture need beside it."""

from __future__ import annotations

import pytest
import torch


def require_one_each(processes: int, device: torch.device) -> None:
    """Skip the test unless every process has a GPU of its own, if it is about GPUs."""
    if device.type == 'cuda' and torch.cuda.device_count() < processes:
        pytest.skip(f'{processes} GPUs are needed, {torch.cuda.device_count()} is here')
