# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A small concept pool: names of things, found in captions by a noun-phrase pattern.

Captions of the shapes world are plain English with phrases such as "a red circle" or "another blue
star". The pattern knows articles and linking words, not the world's category list.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from regionclip_mmdet.fileio import read_json

# Words that begin a phrase, and words that cannot be part of a name.
DETERMINERS = ('a', 'an', 'another')
FUNCTION_WORDS = frozenset(
    'a an another the and or of on in at to with next near above below beside between behind '
    'is are was there this that we you it can see showing'.split()
)
# What a caption is about ("a photo of"), not what it shows.
MEDIUM_WORDS = frozenset('photo picture image drawing view scene sheet background'.split())
WORD = re.compile(r"[a-z][a-z'-]*|[^\sa-z]")


def noun_phrases(caption: str) -> list[str]:
    """Names in a caption: the words between a determiner and the next function word or comma.

    >>> noun_phrases('a photo of a red circle, an orange star and another red circle')
    ['red circle', 'orange star', 'red circle']
    """
    phrases: list[list[str]] = []
    current: list[str] | None = None
    for word in WORD.findall(caption.lower()):
        if word in DETERMINERS:
            current = []
            phrases.append(current)
        elif word in FUNCTION_WORDS or not word[0].isalpha():
            current = None
        elif current is not None:
            current.append(word)
    return [' '.join(p) for p in phrases if p and MEDIUM_WORDS.isdisjoint(p)]


def concept_pool(captions: Iterable[str], min_count: int = 5) -> dict[str, int]:
    """Names that occur often enough, with their counts, most frequent first.

    Args:
        captions: All captions of the pretraining data.
        min_count: Rarer names are left out: mostly noise.
    """
    counts = Counter(name for caption in captions for name in noun_phrases(caption))
    return {name: n for name, n in counts.most_common() if n >= min_count}


def read_captions(annotation_file: str | Path) -> list[str]:
    """All captions of a COCO-caption file."""
    content = read_json(annotation_file)
    return [annotation['caption'] for annotation in content['annotations']]
