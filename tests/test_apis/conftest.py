# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A tiny detector as files."""

from __future__ import annotations

import pytest

from helpers import tiny_inference


@pytest.fixture(scope='session')
def files(tmp_path_factory: pytest.TempPathFactory) -> tiny_inference.DetectorFiles:
    return tiny_inference.save_detector(tmp_path_factory.mktemp('detector'))
