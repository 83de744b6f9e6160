# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A disk that is full by whatever a run writes: logs, figures, pictures."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ...fileio import naming_write_errors

REMEDY = (
    'Free some space or name another work_dir, and continue with --resume: checkpoints written '
    'before are whole'
)


@contextmanager
def explain_full_disk(work_dir: str) -> Iterator[None]:
    """Name the work dir where the error of a full disk names no file.

    Raises:
        OSError: In place of the nameless one.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with naming_write_errors(work_dir, REMEDY):
            raise
