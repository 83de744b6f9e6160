# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Small shapes worlds shared by the dataset tests."""

from pathlib import Path

import pytest

from examples.shapes_world import ShapesWorldSpec, make_shapes_world


@pytest.fixture(scope='session')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a world of 40 scenes."""
    root = tmp_path_factory.mktemp('worlds') / 'scenes'
    return make_shapes_world(root, ShapesWorldSpec('scenes', 40), num_workers=1, progress=False)


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    """Build by mmdet's registries, as a runner does."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
