# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Back ends by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .nouns import NounBackend
from .spacy_nouns import SpacyNouns
from .textblob_nouns import TextBlobNouns

BACKENDS: dict[str, Callable[..., NounBackend]] = {'textblob': TextBlobNouns, 'spacy': SpacyNouns}


def make_backend(name: str = 'textblob', **options: Any) -> NounBackend:
    """A back end.

    Args:
        name: Key of ``BACKENDS``.
        **options: Of its constructor.

    Raises:
        ValueError: No such back end.
        ImportError: What it needs is not installed; the message has the command.
    """
    if name not in BACKENDS:
        raise ValueError(f'no back end {name!r}; there are {", ".join(BACKENDS)}.')
    return BACKENDS[name](**options)
