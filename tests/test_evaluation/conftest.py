# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is written to mmengine's log."""

from collections.abc import Iterator

import pytest
from mmengine.logging import MMLogger


@pytest.fixture()
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """``caplog`` that hears mmengine's logger, which keeps its records to itself."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
