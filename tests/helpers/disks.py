# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Disks that are really full, or may really not be written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory, with options of ``mount`` as ``size=64k`` or ``ro``; needs root."""
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
    try:
        done = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip('a disk cannot be mounted here')
    try:
        yield folder
    finally:  # lazily: an error's traceback may hold a file open
        subprocess.run(['umount', '-l', str(folder)], check=True)
