# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Embeddings of names, each computed once: kept in memory and, if wanted, in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from .clip_text_encoder import CLIPTextEncoder, check_names_embeddable
from .prompts import fill_prompts, get_templates
from .text_embeddings import TextEmbeddings

# Names that are embedded and stored together: what a kill can cost.
_NAMES_PER_FILE = 64
# 200 MB of CLIP's 1024-dimensional embeddings; the least recently used ones go first.
NAMES_KEPT = 50_000


class EmbeddingCache:
    """Embeds names as an encoder does, but each name once; may be shared by threads.

    In a folder, what decides an embedding decides where it is kept: a sub-folder is named after a
    hash of the encoder's tensors, its treatment of long texts, and the templates. So other weights
    or prompts never meet, and pools that share names share their embeddings.

    Args:
        folder: folder that keeps embeddings beyond the process, created when needed; deleting it is
            always safe. None: memory only.
        encoder: text encoder with weights, which must not change while this object is used; or a
            function that finds it, called once, when the first unknown name comes.
        templates: prompts unless a call names others, see ``CLIPTextEncoder.encode_names``.
        names_kept: number of names kept in memory.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        encoder: CLIPTextEncoder | Callable[[], CLIPTextEncoder],
        templates: str | Sequence[str] = 'ensemble81',
        names_kept: int = NAMES_KEPT,
    ) -> None:
        self._root = None if folder is None else Path(folder)
        self._found = encoder if isinstance(encoder, CLIPTextEncoder) else None
        self._find_encoder = encoder
        self.templates = templates
        self._names_kept = names_kept
        self._rows: OrderedDict[tuple[tuple[str, ...], str], Tensor] = OrderedDict()
        self._folders: dict[tuple[str, ...], Path] = {}
        self._lock = threading.RLock()

    @property
    def encoder(self) -> CLIPTextEncoder:
        """The text encoder; found when it is first needed."""
        with self._lock:
            if self._found is None:
                self._found = self._find_encoder()
            return self._found

    @property
    def folder(self) -> Path | None:
        """Where embeddings by ``templates`` are kept."""
        return self._folder(get_templates(self.templates))

    def encode_names(
        self,
        names: Sequence[str],
        batch_size: int = 256,
        progress: bool = False,
        templates: str | Sequence[str] | None = None,
    ) -> TextEmbeddings:
        """Embed what is not kept yet, and keep it.

        Args:
            names: distinct names.
            batch_size: prompts per forward pass.
            progress: show a progress bar if there is anything to embed.
            templates: other prompts than those of the cache.

        Returns:
            As ``CLIPTextEncoder.encode_names``, up to rounding: prompts meet in other batches.

        Raises:
            RuntimeError: the function given as encoder finds none.
            ValueError: names that cannot be embedded, before any is.
        """
        check_names_embeddable(names)
        templates = templates or self.templates
        prompts = get_templates(templates)
        rows = self._in_memory(prompts, names)
        if len(rows) < len(names):
            folder = self._folder(prompts)
            if folder is not None:
                rows.update(self._in_folder(folder, set(names) - rows.keys()))
            missing = [name for name in names if name not in rows]
            warn_of_long_names(self.encoder, missing, prompts)
            with tqdm(
                total=len(names),
                initial=len(rows),
                unit='names',
                disable=not (progress and missing),
            ) as bar:
                for start in range(0, len(missing), _NAMES_PER_FILE):
                    part = self.encoder.encode_names(
                        missing[start : start + _NAMES_PER_FILE], templates, batch_size
                    )
                    if folder is not None:
                        part.save(folder / _file_name(part.names))
                    rows.update(zip(part.names, part.matrix, strict=True))
                    bar.update(len(part))
            self._remember(prompts, rows)
        matrix = torch.stack([rows[name] for name in names])
        return TextEmbeddings(tuple(names), matrix, self.encoder.provenance(templates))

    def _folder(self, prompts: tuple[str, ...]) -> Path | None:
        if self._root is None:
            return None
        encoder = self.encoder
        with self._lock:
            if prompts not in self._folders:
                digest = hashlib.sha256()
                digest.update(json.dumps([encoder.truncate, prompts]).encode())
                for name, tensor in sorted(encoder.state_dict().items()):
                    digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
                    digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
                # Activation and number of heads leave no trace in the tensors.
                digest.update(json.dumps(encoder.arch, sort_keys=True).encode())
                self._folders[prompts] = self._root / digest.hexdigest()[:16]
            return self._folders[prompts]

    def _in_memory(self, prompts: tuple[str, ...], names: Sequence[str]) -> dict[str, Tensor]:
        found = {}
        with self._lock:
            for name in names:
                row = self._rows.get((prompts, name))
                if row is not None:
                    self._rows.move_to_end((prompts, name))
                    found[name] = row
        return found

    def _in_folder(self, folder: Path, wanted: set[str]) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        for path in sorted(folder.glob('*.pth')):
            try:
                part = TextEmbeddings.load(path)
                if part.embed_dim != self.encoder.embed_dim:
                    raise ValueError(
                        f'{path} holds {part.embed_dim}-dimensional embeddings, those of the '
                        f'encoder are {self.encoder.embed_dim}-dimensional'
                    )
            except (OSError, ValueError, MemoryError) as error:
                print_log(f'not used, its names are embedded again: {error}', 'current', 30)
                continue
            rows.update((n, row) for n, row in zip(part.names, part.matrix) if n in wanted)
        return rows

    def _remember(self, prompts: tuple[str, ...], rows: dict[str, Tensor]) -> None:
        with self._lock:
            for name, row in rows.items():
                if (prompts, name) not in self._rows:
                    self._rows[prompts, name] = row.clone()  # not a view that keeps the whole
            while len(self._rows) > self._names_kept:
                self._rows.popitem(last=False)


def warn_of_long_names(
    encoder: CLIPTextEncoder, names: Sequence[str], templates: Sequence[str]
) -> None:
    """Warn of names that do not fit CLIP's context (77 tokens) in some prompt.

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


def _file_name(names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    return f'{digest.hexdigest()[:16]}.pth'
