# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What users write, as names."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterable, Sequence

from ..models.text import TextEmbeddings, clean_lvis_name
from ..recipes.name_lists import LISTS, LVIS_LISTS, read_names
from ..recipes.words import checked_names, describe_again, distinct_names, split_words

Texts = str | os.PathLike | Sequence[str] | TextEmbeddings
EMBEDDING_FILES = ('.pth', '.pt')
NAME_FILES = ('.txt', '.names', '.json', '.csv', '.tsv', '.xml', '.yaml', '.yml')


def parse_vocabulary(texts: Texts) -> list[str] | TextEmbeddings:
    """Names to look for.

    * A list of names. White space around and inside them is tidied.
    * A string: ``'traffic cone . red umbrella .'``, ``'traffic cone, red umbrella'``; the rule is
      that of ``recipes.words``, which the web page has, too. A name that has a separator inside
      must come in a list or a file.
    * A file, by its path: text with a name per line, annotations in COCO's format (``.json``), or
      embeddings (``.pth``) made by ``TextEmbeddings.save`` or ``tools/embed_names.py``. A word
      without a folder and an ending is a name, though a file of that name may lie there.
    * A list this package knows: ``'coco_80'``, ``'ov_coco_65'``, ``'lvis_1203'`` and so on, see
      ``tools/embed_names.py``; LVIS's names as words.
    * ``TextEmbeddings``, as they are.

    Names that are the same to CLIP, which reads capitals as small letters, would share their
    probability: the first is kept, with a warning. CLIP was trained on English: names in another
    script get a warning. They are legal.

    Returns:
        Distinct names in the given order, or the embeddings.

    Raises:
        FileNotFoundError: A string that looks like a file's path, but there is none.
        TypeError: Something else, or a name that is no string.
        ValueError: No names; a blank one in a list; what cannot be a name, such as markup.
    """
    if isinstance(texts, TextEmbeddings):
        return texts
    if isinstance(texts, str | os.PathLike):
        found = _from_string(texts)
        if isinstance(found, TextEmbeddings):
            return found
        names = list(found)
    else:
        names = _from_list(texts)
    if not names:
        raise ValueError(
            "no names to look for: give a list such as ['traffic cone', 'red umbrella'], a string "
            "'traffic cone . red umbrella', or a file with a name per line."
        )
    names, again = distinct_names(names)
    if again:
        warnings.warn(describe_again(again, len(names)), stacklevel=2)
    _warn_of_other_scripts(names)
    return names


def _from_string(texts: str | os.PathLike) -> Iterable[str] | TextEmbeddings:
    text = os.fspath(texts)
    if text in LISTS:
        names = LISTS[text]
        return map(clean_lvis_name, names) if text in LVIS_LISTS else names
    is_path = isinstance(texts, os.PathLike)
    ending = os.path.splitext(text.strip())[1].lower()
    # a bare word is a name, though a file of that name may lie here
    a_file = (ending or os.path.basename(text) != text) and _is_file(text)
    if is_path or ending in EMBEDDING_FILES + NAME_FILES or a_file:
        if not _is_file(text):
            raise FileNotFoundError(
                f'there is no file {text} with names (a text file, a name per line) or embeddings '
                '(.pth).'
            )
        return TextEmbeddings.load(text) if ending in EMBEDDING_FILES else read_names(text)
    return split_words(text)


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(text)
    except ValueError:  # a null character
        return False


def _from_list(texts: Sequence[str]) -> list[str]:
    try:
        items = list(texts)
    except TypeError:
        raise TypeError(
            'a vocabulary is a list of names, a string, a file or TextEmbeddings, not a '
            f'{type(texts).__name__}.'
        ) from None
    return checked_names(items)


def _warn_of_other_scripts(names: Sequence[str]) -> None:
    foreign = [name for name in names if any(map(_is_foreign, name))]
    if foreign:
        warnings.warn(
            f'names in another script than the Latin one ({len(foreign)}): {foreign[:5]}. CLIP '
            'learned from English texts, so detections of them mean little; translate them.',
            stacklevel=3,
        )


def _is_foreign(character: str) -> bool:
    if character.isascii() or not character.isalpha():
        return False
    return not unicodedata.name(character, '').startswith('LATIN')
