# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Decides which device a run is about, before torch is imported."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

# Some tests start two processes on as many cores: threads that spin while they wait would slow
# them down many times. Read once, when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

RUNS_ON_GPU = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from this process and its children, unless ``-m`` asks for their tests.

    mmengine would use a GPU that it sees, and two processes one GPU each. CUDA reads the variable
    once, so this comes before torch is imported.
    """
    config.stash[RUNS_ON_GPU] = bool(re.search(r'(?<!not )\bgpu\b', config.option.markexpr or ''))
    if not config.stash[RUNS_ON_GPU]:
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    import regionclip_mmdet  # noqa: F401  (registers the components, serves mmcv's operators)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A test with it runs on the CPU; with ``-m gpu`` on a GPU, in full float32 precision."""
    import torch

    from regionclip_mmdet.compat import why_cuda_is_unusable

    on_gpu = request.config.stash[RUNS_ON_GPU]
    if request.param == 'cpu' and on_gpu:
        pytest.skip('tests on the CPU run with GPUs hidden: make test')
    if request.param == 'cuda':
        if not on_gpu:
            pytest.skip('GPUs are hidden from the other tests: make test-gpu')
        if reason := why_cuda_is_unusable():
            pytest.skip(f'no GPU to test on: {reason}')
        monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)
        monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    return torch.device(request.param)
