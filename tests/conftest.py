# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Decides which device a run is about, before torch is imported."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from helpers.installed_layouts import Layout

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
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A test with it runs on the CPU; with ``-m gpu`` on a GPU, in full float32 precision."""
    import torch

    from helpers.devices import full_float32
    from regionclip_mmdet.compat import why_cuda_is_unusable

    on_gpu = request.config.stash[RUNS_ON_GPU]
    if request.param == 'cpu' and on_gpu:
        pytest.skip('tests on the CPU run with GPUs hidden: make test')
    if request.param == 'cuda':
        if not on_gpu:
            pytest.skip('GPUs are hidden from the other tests: make test-gpu')
        if reason := why_cuda_is_unusable():
            pytest.skip(f'no GPU to test on: {reason}')
    with full_float32():
        yield torch.device(request.param)


@pytest.fixture(scope='session')
def copied_sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what the package is built from; builds leave files behind."""
    from helpers.installed_layouts import copy_sources

    folder = tmp_path_factory.mktemp('sources')
    yield copy_sources(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope='session')
def built_wheel(copied_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's file."""
    from helpers.installed_layouts import build_wheel

    return build_wheel(copied_sources, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='session')
def wheel_layout(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The package installed from a wheel."""
    from helpers.installed_layouts import Layout, unpack

    return Layout('wheel', unpack(built_wheel, tmp_path_factory.mktemp('wheel_site')))


@pytest.fixture(scope='session')
def editable_layout(copied_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The package installed by ``pip install -e``, from the copy."""
    from helpers.installed_layouts import Layout, build_editable, unpack

    folder = tmp_path_factory.mktemp('editable')
    return Layout('editable', unpack(build_editable(copied_sources, folder), folder / 'site'))


@pytest.fixture(params=['wheel', 'editable'])
def layout(request: pytest.FixtureRequest) -> Layout:
    """A test with it runs in both."""
    return request.getfixturevalue(f'{request.param}_layout')
