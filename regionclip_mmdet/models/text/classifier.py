# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cosine classifier whose weights are text embeddings."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ...known_files import require_file
from ..precision import StaysFloat32
from ..recognition import probabilities, region_logits
from .text_embeddings import TextEmbeddings, decode_names, encode_names, names_difference


@MODELS.register_module()
class TextEmbeddingClassifier(StaysFloat32):
    """Logits = cosine of region and name, divided by a temperature (RegionCLIP, section 3.3).

    The vocabulary lives in persistent buffers, names included, so a checkpoint knows what it can
    name. One that is given explicitly (here or by :meth:`set_vocabulary`) wins over a checkpoint's,
    and a difference between the two is logged; otherwise the checkpoint's is adopted, whatever
    its size.

    Args:
        embed_dim: ``D``.
        vocabulary: embeddings, or the path of a file made by :meth:`TextEmbeddings.save`. A file
            that is not there is missed only when the classifier is used, unless a checkpoint has
            brought a vocabulary by then: models can be built without any file.
        temperature: divisor of the cosine.
        background: ``'zero'`` appends one last column that is exactly 0: the logit of an all-zero
            background embedding. ``None`` appends nothing.

    """

    embeddings: Tensor
    names_utf8: Tensor
    # its buffers may change size when a checkpoint is loaded; see _load_from_state_dict
    loads_itself = True

    def __init__(
        self,
        embed_dim: int,
        vocabulary: TextEmbeddings | str | os.PathLike | None = None,
        temperature: float = 0.01,
        background: Literal['zero'] | None = 'zero',
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, not {temperature}')
        if background not in ('zero', None):
            raise ValueError(f"background must be 'zero' or None, not {background!r}")
        self.embed_dim = embed_dim
        self.temperature = temperature
        self.background = background
        self.is_explicit = False
        self.missing_file: str | None = None
        self._provenance: dict[str, Any] = {}
        self._reported: str | None = None
        self.register_buffer('embeddings', torch.zeros(0, embed_dim))
        self.register_buffer('names_utf8', torch.zeros(0, dtype=torch.uint8))
        self._names: tuple[str, ...] = ()
        if vocabulary is not None:
            self._take(vocabulary)

    def _take(self, vocabulary: TextEmbeddings | str | os.PathLike) -> None:
        """Use the vocabulary the config names, or remember that its file is missing."""
        what = 'the given vocabulary'
        if not isinstance(vocabulary, TextEmbeddings):
            if not os.path.exists(vocabulary):
                self.missing_file = os.fspath(vocabulary)
                return
            what = f'the vocabulary in {vocabulary}'
            vocabulary = TextEmbeddings.load(vocabulary)
        self.set_vocabulary(vocabulary, what)

    @property
    def is_wanted(self) -> bool:
        """Whether it has names, or was given a file that should have held some."""
        return bool(self._names) or self.missing_file is not None

    def require_vocabulary(self) -> None:
        """Refuse to go on without names.

        Raises:
            FileNotFoundError: The file named in the config is missing; says how to make it.
            RuntimeError: None was named.
        """
        if self._names:
            return
        if self.missing_file is not None:
            require_file(self.missing_file, 'vocabulary')
            self._take(self.missing_file)  # it has been made since
            return
        raise RuntimeError(
            'TextEmbeddingClassifier has no vocabulary: give it one in the config '
            "(vocabulary='names.pth'), call set_vocabulary(TextEmbeddings), or load a "
            'checkpoint that holds one'
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without background."""
        return self._names

    @property
    def matrix(self) -> Tensor:
        """The embeddings ``(K, D)``, under the name that ``TextEmbeddings`` has for them."""
        return self.embeddings

    @property
    def num_classes(self) -> int:
        """``K``, without background."""
        return len(self._names)

    @property
    def vocabulary(self) -> TextEmbeddings | None:
        """A copy of the present vocabulary on the CPU, or None."""
        if not self._names:
            return None
        return TextEmbeddings(self._names, self.embeddings.cpu().clone(), self._provenance)

    def set_vocabulary(
        self, vocabulary: TextEmbeddings, what: str = 'the given vocabulary'
    ) -> None:
        """Replace the vocabulary; from now on it wins over that of any checkpoint.

        Args:
            vocabulary: embeddings of width ``embed_dim``.
            what: for messages, where they come from.

        Raises:
            ValueError: another width; the present vocabulary stays.
        """
        model = vocabulary.provenance.get('model')
        made_by = f' (made by the text encoder of {model})' if model else ''
        self._check_width(vocabulary.embed_dim, what + made_by)
        self._assign(vocabulary)
        self.is_explicit = True

    def forward(self, x: Tensor) -> Tensor:
        """Compare regions with every name.

        Args:
            x: region embeddings ``(R, D)``, of any floating type; need not be normalized.

        Returns:
            float32 logits ``(R, K + 1)``, the last column background, or ``(R, K)`` without it.

        """
        self.require_vocabulary()
        return region_logits(
            x, self.embeddings, self.temperature, background=self.background == 'zero'
        )

    def probabilities(self, x: Tensor) -> Tensor:
        """Softmax of the logits, ``(R, K + 1)`` or ``(R, K)``; see ``forward``."""
        return probabilities(self(x))

    def extra_repr(self) -> str:
        """What ``print(module)`` shows."""
        return (
            f'embed_dim={self.embed_dim}, num_classes={self.num_classes}, '
            f'temperature={self.temperature}, background={self.background!r}'
        )

    # -- loading ------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Settle whose vocabulary holds, then load as usual (never missing, never unexpected)."""
        keys = (prefix + 'embeddings', prefix + 'names_utf8')
        settled = {key: value for key, value in state_dict.items() if key not in keys}
        try:
            found = self._read(state_dict, prefix)
        except ValueError as error:
            error_msgs.append(str(error))
        else:
            if found is not None:
                self._meet(found, prefix)
        # Without any vocabulary forward refuses to run, so nothing is left silently unset.
        settled.update(zip(keys, (self.embeddings, self.names_utf8)))
        super()._load_from_state_dict(
            settled, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def loading_problem(self, state_dict: Mapping[str, Any], prefix: str) -> str | None:
        """Why a checkpoint's vocabulary cannot be loaded, in words; None if it can.

        Args:
            state_dict: tensors by key.
            prefix: of this module's keys.
        """
        try:
            self._read(state_dict, prefix)
        except ValueError as error:
            return str(error)
        return None

    def _read(self, state_dict: Mapping[str, Any], prefix: str) -> TextEmbeddings | None:
        """The checkpoint's vocabulary, None if it has none."""
        keys = (prefix + 'embeddings', prefix + 'names_utf8')
        present = [key for key in keys if key in state_dict]
        if len(present) == 1:
            raise ValueError(f'the checkpoint holds {present[0]} but not its partner of {keys}')
        if not present or state_dict[keys[1]].numel() == 0:
            return None
        matrix = state_dict[keys[0]]
        self._check_width(matrix.shape[-1], 'the vocabulary in the checkpoint')
        try:
            names = decode_names(state_dict[keys[1]])
            return TextEmbeddings(names, matrix, dict(source='checkpoint'))
        except ValueError as error:
            raise ValueError(f'vocabulary {prefix!r} of the checkpoint: {error}') from None

    def _meet(self, found: TextEmbeddings, prefix: str) -> None:
        """Adopt the checkpoint's vocabulary, or compare it with the explicit one."""
        if not self.is_explicit:
            if self.missing_file is not None and not self._names:
                print_log(
                    f'vocabulary {prefix!r}: {self.missing_file} does not exist, so the '
                    f'{len(found)} names of the checkpoint are used.',
                    logger='current',
                    level=logging.WARNING,
                )
            self._assign(found)
            return
        difference = self._difference(found)
        if difference is not None and difference != self._reported:
            self._reported = difference
            print_log(
                f'vocabulary {prefix!r}: {difference}. The given one is used, the one in the '
                'checkpoint is ignored.',
                logger='current',
                level=logging.WARNING,
            )

    def _difference(self, found: TextEmbeddings) -> str | None:
        """How the checkpoint's vocabulary differs from the explicit one, in words."""
        difference = names_difference(
            self._names, found.names, 'the given vocabulary', 'the one in the checkpoint'
        )
        if difference is not None:
            return difference
        mine = self.embeddings.float().cpu()
        gap = float((mine - found.matrix.cpu()).abs().max())
        # Far above rounding, far below what another model or template set would cause.
        if gap > 1e-4 * float(mine.abs().max()):
            return (
                f'the given vocabulary ({self._provenance.get("source", "set in code")}) and the '
                f'one in the checkpoint have the same {len(found)} names but other embeddings '
                f'(largest difference {gap:.3g})'
            )
        return None

    def _assign(self, vocabulary: TextEmbeddings) -> None:
        device = self.embeddings.device
        self.embeddings = vocabulary.matrix.detach().clone().to(device)
        self.names_utf8 = encode_names(vocabulary.names).to(device)
        self._names = vocabulary.names
        self._provenance = dict(vocabulary.provenance)

    def _check_width(self, width: int, what: str) -> None:
        if width != self.embed_dim:
            raise ValueError(
                f'{what} has embeddings of width {width}, but the model makes region embeddings '
                f'of width {self.embed_dim}; use a text encoder of the same CLIP model'
            )
