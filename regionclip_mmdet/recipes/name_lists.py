# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The lists of class names that experiments detect, and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..concepts import split_count
from ..datasets.categories import (
    COCO_80,
    LVIS_V1_NAMES,
    OV_COCO_ALL,
    OV_COCO_BASE,
    OV_COCO_NOVEL,
    OV_LVIS_BASE,
)
from ..fileio import read_json, require_file
from ..known_files import NAME_LISTS
from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings, clean_lvis_name
from .words import checked_names, names_of_lines

# In the order of the datasets' categories.
_LISTS = (COCO_80, OV_COCO_BASE, OV_COCO_NOVEL, OV_COCO_ALL, OV_LVIS_BASE, LVIS_V1_NAMES)
LISTS: dict[str, tuple[str, ...]] = dict(zip(NAME_LISTS, _LISTS, strict=True))
LVIS_LISTS = tuple(name for name in LISTS if 'lvis' in name)
# Files that may speak of names, but are no lists of them.
_NO_NAMES = ('.xml', '.html', '.yaml', '.yml', '.py', '.pkl', '.npy', '.npz')


def read_names(source: str) -> tuple[str, ...]:
    """Names of a list, of a text file, or of a COCO file's categories.

    Args:
        source: key of ``LISTS``, or a path. Of text files what ``words.names_of_lines`` reads: a
            name per line, without counts of a concept pool. Of annotation files (``.json``) the
            categories' names in the order of the file, which is that of labels; a list of names in
            a ``.json`` is that list.

    Raises:
        FileNotFoundError: There is neither such a list nor such a file.
        ValueError: The file holds no names, or what cannot be names, or is not UTF-8 or JSON;
            names it and the line.
    """
    if source in LISTS:
        return LISTS[source]
    require_file(source, 'file of names', f'Lists that need no file: {", ".join(LISTS)}')
    suffix = Path(source).suffix.lower()
    if suffix in _NO_NAMES:
        raise ValueError(
            f'{source}: names are read from text files, a name per line, or from the categories of '
            f'a COCO annotation file (.json), not from {suffix}.'
        )
    try:
        if suffix == '.json':
            names = _names_in_json(read_json(source, 'file of names'), source)
        else:
            names = tuple(names_of_lines(_read_text(source)))
    except ValueError as error:
        raise ValueError(str(error) if source in str(error) else f'{source}, {error}') from None
    if not names:
        raise ValueError(f'{source}: holds no names.')
    return names


def read_rows(source: str) -> list[str]:
    """Names of the rows of a matrix: of a list, or a line of a text file each.

    Unlike in ``read_names``, empty lines count, as in official files; counts behind names do not.
    Arguments and errors are those of ``read_names``.
    """
    if source in LISTS:
        return list(LISTS[source])
    require_file(source, 'file of names', f'Lists that need no file: {", ".join(LISTS)}')
    return [split_count(line)[0] for line in _read_text(source).splitlines()]


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'file of names {path} is not UTF-8 text: {error}.') from None


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
        names: distinct names.
        encoder: text encoder with weights.
        templates: prompts, see ``CLIPTextEncoder.encode_names``.
        lvis_style: whether prompts get the names as words, without underscores and parentheses.
        batch_size: prompts per forward pass.
        progress: whether to show a progress bar.
        cache: folder of an ``EmbeddingCache``.

    Raises:
        ValueError: Names that cannot be used, or two that are the same words.
    """
    words = [clean_lvis_name(name) for name in names] if lvis_style else list(names)
    if cache is None:
        embedded = encoder.encode_names(words, templates, batch_size, progress)
    else:
        kept = EmbeddingCache(cache, encoder, templates)
        embedded = kept.encode_names(words, batch_size, progress)
    provenance = dict(embedded.provenance, lvis_style=lvis_style)
    return TextEmbeddings(tuple(names), embedded.matrix, provenance)
