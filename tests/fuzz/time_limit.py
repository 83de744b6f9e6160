# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A case that goes on for too long fails, whatever exceptions the code under test catches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECONDS = 20


@contextmanager
def time_limit(case: object = 'the case', seconds: int = SECONDS) -> Iterator[None]:
    """Fail the test if what is run inside takes longer.

    Args:
        case: Which one, for the message.
        seconds: Of wall time, whole.
    """

    def stop(*_: Any) -> None:
        pytest.fail(f'{case}: more than {seconds} seconds')  # no Exception: nobody catches it

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
