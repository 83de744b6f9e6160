# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the parts of a converted checkpoint come from: notes that stay with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..fileio import PathLike, sha256_of
from .conversion import Conversion


def origins(paths: Sequence[PathLike], conversions: Sequence[Conversion]) -> list[dict[str, Any]]:
    """What each source of a merged checkpoint gave.

    Args:
        paths: Files, or names of CLIP weights.
        conversions: Of each, in the order of merging.

    Returns:
        Per source ``file`` (its name), ``kind`` and ``parts`` (those taken from it; a later source
        replaces a part of an earlier one), and of a local file ``bytes`` and ``sha256``.
    """
    found: list[dict[str, Any]] = []
    for number, (path, conversion) in enumerate(zip(paths, conversions, strict=True)):
        later = {part for other in conversions[number + 1 :] for part in other.parts}
        note: dict[str, Any] = dict(
            file=os.path.basename(os.fspath(path)),
            kind=conversion.kind,
            parts=[part for part in conversion.parts if part not in later],
        )
        if os.path.isfile(path):
            note.update(bytes=os.path.getsize(path), sha256=sha256_of(path))
        found.append(note)
    return found
