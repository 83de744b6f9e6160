# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The lists of names that experiments detect, and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.categories import (
    COCO_80,
    LVIS_V1_NAMES,
    OV_COCO_ALL,
    OV_COCO_BASE,
    OV_COCO_NOVEL,
    OV_LVIS_BASE,
)
from ..fileio import read_json, require_file
from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings, clean_lvis_name
from .words import checked_names, names_of_lines

# In the order of the datasets' categories.
LISTS: dict[str, tuple[str, ...]] = {
    'coco_80': COCO_80,
    'ov_coco_48': OV_COCO_BASE,
    'ov_coco_17': OV_COCO_NOVEL,
    'ov_coco_65': OV_COCO_ALL,
    'ov_lvis_866': OV_LVIS_BASE,
    'lvis_1203': LVIS_V1_NAMES,
}
LVIS_LISTS = ('ov_lvis_866', 'lvis_1203')
# Files that may speak of names, but are no lists of them.
_NO_NAMES = ('.xml', '.html', '.yaml', '.yml', '.py', '.pkl', '.npy', '.npz')


def read_names(source: str) -> tuple[str, ...]:
    """Names of a list, of a text file, or of a COCO file's categories.

    Args:
        source: Key of ``LISTS``, or a path. Of text files what ``words.names_of_lines`` reads: a
            name per line, without counts of a concept pool. Of annotation files (``.json``) the
            categories' names in the order of the file, which is that of labels; a list of names in
            a ``.json`` is that list.

    Raises:
        FileNotFoundError: Neither.
        ValueError: The file holds no names, or what cannot be names, or is not UTF-8 or JSON;
            names it and the line.
    """
    if source in LISTS:
        return LISTS[source]
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f'{source}: neither a text file nor one of the lists {", ".join(LISTS)}.'
        )
    require_file(path, 'file of names')
    if path.suffix.lower() in _NO_NAMES:
        raise ValueError(
            f'{source}: names are read from text files, a name per line, or from the categories of '
            f'a COCO annotation file (.json), not from {path.suffix.lower()}.'
        )
    try:
        if path.suffix.lower() == '.json':
            names = _names_in_json(read_json(path, 'file of names'), source)
        else:
            names = tuple(names_of_lines(path.read_text(encoding='utf-8-sig')))
    except UnicodeDecodeError as error:
        raise ValueError(f'{source}: not UTF-8: {error}') from None
    except ValueError as error:
        raise ValueError(str(error) if source in str(error) else f'{source}, {error}') from None
    if not names:
        raise ValueError(f'{source}: holds no names.')
    return names


def _names_in_json(content: Any, source: str) -> tuple[str, ...]:
    try:
        found = content if isinstance(content, list) else [c['name'] for c in content['categories']]
        return tuple(checked_names(found))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{source}: not a COCO annotation file with categories that have names '
            f'({type(error).__name__}: {error}).'
        ) from None


def embed_names(
    names: Sequence[str],
    encoder: CLIPTextEncoder,
    templates: str | Sequence[str] = 'ensemble81',
    lvis_style: bool = False,
    batch_size: int = 256,
    progress: bool = False,
    cache: str | Path | None = None,
) -> TextEmbeddings:
    """Embed names as the official concept files do; the names themselves stay as they are.

    Args:
        names: Distinct names.
        encoder: With weights.
        templates: See ``CLIPTextEncoder.encode_names``.
        lvis_style: Prompts get the names as words: underscores become spaces, parentheses go.
        batch_size: Prompts per forward pass.
        progress: Show a progress bar.
        cache: Folder of an ``EmbeddingCache``.

    Raises:
        ValueError: Names that cannot be used, or two that are the same words.
    """
    words = [clean_lvis_name(name) for name in names] if lvis_style else list(names)
    if cache is None:
        made = encoder.encode_names(words, templates, batch_size, progress)
    else:
        made = EmbeddingCache(cache, encoder, templates).encode_names(words, batch_size, progress)
    return TextEmbeddings(tuple(names), made.matrix, dict(made.provenance, lvis_style=lvis_style))
