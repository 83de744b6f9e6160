# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images and a tiny detector as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import features_world, tiny_inference


@pytest.fixture(scope='session')
def files(tmp_path_factory: pytest.TempPathFactory) -> tiny_inference.DetectorFiles:
    return tiny_inference.save_detector(tmp_path_factory.mktemp('detector'))


@pytest.fixture(scope='session')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return features_world.write_images(tmp_path_factory.mktemp('photos'))


@pytest.fixture
def own_photos(tmp_path: Path) -> Path:
    return features_world.write_images(tmp_path / 'photos')
