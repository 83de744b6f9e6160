# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Words of errors about files."""

from __future__ import annotations

import os

PathLike = str | os.PathLike


def reason_of(error: Exception) -> str:
    """What an error says, in one line of at most 200 letters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return ' '.join(str(error).split())[:200]


def message(text: str, remedy: str) -> str:
    """A sentence, and the one that says what to do, if there is any."""
    return f'{text}. {remedy}'.rstrip('. ') + '.'
