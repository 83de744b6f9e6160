# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Embeddings of names kept in a folder: long work goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from .clip_text_encoder import CLIPTextEncoder, check_names_embeddable
from .prompts import get_templates
from .text_embeddings import TextEmbeddings

# Names that are embedded and stored together: what a kill can cost.
_NAMES_PER_FILE = 64


class EmbeddingCache:
    """Embeds names as an encoder does, but each name once.

    What decides an embedding decides where it is kept: a sub-folder is named after a hash of the
    encoder's tensors, its treatment of long texts, and the templates. So other weights or prompts
    never meet, and pools that share names share their embeddings.

    Args:
        folder: Of the cache; made when needed. Deleting it is always safe.
        encoder: With weights; they must not change while this object is used.
        templates: See ``CLIPTextEncoder.encode_names``.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        encoder: CLIPTextEncoder,
        templates: str | Sequence[str] = 'ensemble81',
    ) -> None:
        self.encoder = encoder
        self.templates = templates
        digest = hashlib.sha256()
        digest.update(json.dumps([encoder.truncate, get_templates(templates)]).encode())
        for name, tensor in sorted(encoder.state_dict().items()):
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        # Activation and number of heads leave no trace in the tensors.
        digest.update(json.dumps(encoder.arch, sort_keys=True).encode())
        self.folder = Path(folder) / digest.hexdigest()[:16]

    def encode_names(
        self, names: Sequence[str], batch_size: int = 256, progress: bool = False
    ) -> TextEmbeddings:
        """Embed what is not kept yet, and keep it.

        Args:
            names: Distinct names.
            batch_size: Prompts per forward pass.
            progress: Show a progress bar.

        Returns:
            As ``CLIPTextEncoder.encode_names``, up to rounding: prompts meet in other batches.

        Raises:
            ValueError: As there, before any name is embedded.
        """
        check_names_embeddable(names)
        rows = self._kept(set(names))
        missing = [name for name in names if name not in rows]
        with tqdm(total=len(names), initial=len(rows), unit='names', disable=not progress) as bar:
            for start in range(0, len(missing), _NAMES_PER_FILE):
                part = self.encoder.encode_names(
                    missing[start : start + _NAMES_PER_FILE], self.templates, batch_size
                )
                part.save(self.folder / _file_name(part.names))
                rows.update(zip(part.names, part.matrix))
                bar.update(len(part))
        matrix = torch.stack([rows[name] for name in names])
        return TextEmbeddings(tuple(names), matrix, self.encoder.provenance(self.templates))

    def _kept(self, wanted: set[str]) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob('*.pth')):
            try:
                part = TextEmbeddings.load(path)
                if part.embed_dim != self.encoder.embed_dim:
                    raise ValueError(
                        f'{path} holds embeddings of width {part.embed_dim}, those of the encoder '
                        f'have {self.encoder.embed_dim}'
                    )
            except (OSError, ValueError, MemoryError) as error:
                print_log(f'not used, its names are embedded again: {error}', 'current', 30)
                continue
            rows.update((n, row) for n, row in zip(part.names, part.matrix) if n in wanted)
        return rows


def _file_name(names: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    return f'{digest.hexdigest()[:16]}.pth'
