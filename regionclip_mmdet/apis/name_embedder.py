# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names to embeddings, each name once."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence

import open_clip
import torch
from torch import Tensor

from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings, fill_prompts
from ..models.text.clip_text_encoder import check_names_embeddable
from ..models.text.prompts import get_templates

# 200 MB at CLIP's width of 1024; the least recently asked ones go first.
NAMES_KEPT = 50_000


class NameEmbedder:
    """Embeds names with a text encoder and remembers them; may be shared by threads.

    Args:
        find_encoder: Called once, when the first unknown name comes.
        folder: Of an ``EmbeddingCache``, which remembers beyond the process; None: memory only.
        names_kept: At most so many names are remembered in memory.
    """

    def __init__(
        self,
        find_encoder: Callable[[], CLIPTextEncoder],
        folder: str | os.PathLike | None = None,
        names_kept: int = NAMES_KEPT,
    ) -> None:
        self._find_encoder = find_encoder
        self._folder = folder
        self._names_kept = names_kept
        self._encoder: CLIPTextEncoder | None = None
        self._rows: OrderedDict[tuple[tuple[str, ...], str], Tensor] = OrderedDict()
        self._caches: dict[tuple[str, ...], EmbeddingCache] = {}
        self._lock = threading.Lock()

    @property
    def encoder(self) -> CLIPTextEncoder:
        """The text encoder; found when it is first needed."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._find_encoder()
            return self._encoder

    def __call__(
        self, names: Sequence[str], templates: str | Sequence[str], progress: bool = False
    ) -> TextEmbeddings:
        """Embed names.

        Args:
            names: Distinct.
            templates: See ``CLIPTextEncoder.encode_names``.
            progress: Show a progress bar for names that are not remembered.

        Returns:
            As ``CLIPTextEncoder.encode_names``, up to rounding: prompts meet in other batches.

        Raises:
            RuntimeError: There is no text encoder.
            ValueError: Names that cannot be embedded.
        """
        check_names_embeddable(names)
        prompts = get_templates(templates)
        rows = self._remembered(prompts, names)
        unknown = [name for name in names if name not in rows]
        if unknown:
            warn_of_long_names(self.encoder, unknown, prompts)
            made = self._embed(unknown, templates, prompts, progress)
            rows.update(zip(made.names, made.matrix))
            self._remember(prompts, made)
        matrix = torch.stack([rows[name] for name in names])
        return TextEmbeddings(tuple(names), matrix, self.encoder.provenance(templates))

    def _embed(
        self,
        names: Sequence[str],
        templates: str | Sequence[str],
        prompts: tuple[str, ...],
        progress: bool,
    ) -> TextEmbeddings:
        encoder = self.encoder
        if self._folder is None:
            return encoder.encode_names(names, templates, progress=progress)
        with self._lock:
            if prompts not in self._caches:  # hashes the encoder's weights
                self._caches[prompts] = EmbeddingCache(self._folder, encoder, templates)
        return self._caches[prompts].encode_names(names, progress=progress)

    def _remembered(self, prompts: tuple[str, ...], names: Sequence[str]) -> dict[str, Tensor]:
        found = {}
        with self._lock:
            for name in names:
                row = self._rows.get((prompts, name))
                if row is not None:
                    self._rows.move_to_end((prompts, name))
                    found[name] = row
        return found

    def _remember(self, prompts: tuple[str, ...], made: TextEmbeddings) -> None:
        with self._lock:
            for name, row in zip(made.names, made.matrix):
                self._rows[prompts, name] = row.clone()  # not a view that keeps the whole
            while len(self._rows) > self._names_kept:
                self._rows.popitem(last=False)


def warn_of_long_names(
    encoder: CLIPTextEncoder, names: Sequence[str], templates: Sequence[str]
) -> list[str]:
    """Warn of names that do not fit CLIP's context (77 tokens) in some prompt; return them.

    The end of such a prompt is cut off: words of the name, and what the template has behind it.
    Two names that differ only there would be the same.
    """
    room = encoder.context_length - 2  # the tokens of start and end
    # A token has at least one byte, so most names need not be tokenized.
    longest = max(len(template.encode()) for template in templates)
    tokenizer = open_clip.SimpleTokenizer()
    long: dict[str, str] = {}
    for name in names:
        if len(name.encode()) + longest <= room:
            continue
        tokens = max(map(tokenizer.encode, fill_prompts(name, templates)), key=len)
        if len(tokens) > room:
            long[name] = tokenizer.decode(tokens[:room])
    if long:
        name, kept = next(iter(long.items()))
        warnings.warn(
            f'names too long for a prompt of {encoder.context_length} tokens ({len(long)}): the '
            f'end is cut off. Of {name[:40]!r}... the text encoder reads {kept[-60:]!r} at the end '
            'of the longest prompt.',
            stacklevel=4,
        )
    return list(long)
