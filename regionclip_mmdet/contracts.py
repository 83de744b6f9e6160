# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What one part of the package asks of an object of another part, or of a user's own class."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Vocabulary(Protocol):
    """Class names and their embeddings: ``TextEmbeddings`` and ``TextEmbeddingClassifier``."""

    @property
    def names(self) -> tuple[str, ...]:
        """``K`` class names."""

    @property
    def matrix(self) -> Tensor:
        """Text embeddings ``(K, D)``, any norm."""
