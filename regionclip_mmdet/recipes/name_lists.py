# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The lists of names that experiments detect, and their embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..concepts import split_count
from ..datasets.categories import (
    COCO_80,
    LVIS_V1_NAMES,
    OV_COCO_ALL,
    OV_COCO_BASE,
    OV_COCO_NOVEL,
    OV_LVIS_BASE,
)
from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings, clean_lvis_name

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


def read_names(source: str) -> tuple[str, ...]:
    """Names of a list, of a text file with a name per line, or of a COCO file's categories.

    Args:
        source: Key of ``LISTS``, or a path. Of text files, blank lines and outer white space are
            dropped, and so are counts of a concept pool, see ``split_count``. Of annotation files
            (``.json``) the categories' names in the order of the file, which is that of labels.

    Raises:
        FileNotFoundError: Neither.
        ValueError: The file holds no names, or is not UTF-8 or JSON.
    """
    if source in LISTS:
        return LISTS[source]
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f'{source}: neither a text file nor one of the lists {", ".join(LISTS)}.'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{source}: not UTF-8: {error}') from None
    if path.suffix == '.json':
        names = _category_names(text, source)
    else:
        names = tuple(name for name, _ in map(split_count, text.splitlines()) if name)
    if not names:
        raise ValueError(f'{source}: holds no names.')
    return names


def _category_names(text: str, source: str) -> tuple[str, ...]:
    try:
        return tuple(category['name'] for category in json.loads(text)['categories'])
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
