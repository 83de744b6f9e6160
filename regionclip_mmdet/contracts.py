# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What one part of the package expects of an object of another part, or of a user's own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Vocabulary(Protocol):
    """Class names and their embeddings: ``TextEmbeddings`` and ``TextEmbeddingClassifier``."""

    @property
    def names(self) -> tuple[str, ...]:
        """``K`` class names."""

    @property
    def matrix(self) -> Tensor:
        """Text embeddings ``(K, D)``, any norm."""


@runtime_checkable
class LoadsItself(Protocol):
    """A module whose tensors may change size when a state dict is loaded."""

    def loading_problem(self, state_dict: Mapping[str, Any], prefix: str) -> str | None:
        """Why tensors below a prefix cannot be loaded; None if they can."""


@runtime_checkable
class ContrastsBatch(Protocol):
    """A loss that compares the samples of a batch with each other."""

    contrasts_batch: bool


@runtime_checkable
class HasWeightsSource(Protocol):
    """A part that says where its weights come from; None for random ones."""

    weights_source: str | None
