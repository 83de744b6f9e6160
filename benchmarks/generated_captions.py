# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions to measure the building of concept pools: real words, no sense."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

# Number of words as the paper of Conceptual Captions gives it for CC3M, quoted from memory.
MEAN_WORDS, SPREAD = 10.3, 4.5
_FEWEST, _MOST = 3, 40
# Words that no lexicon has, for which no table of words seen helps either: names, misspellings.
_UNKNOWN_SHARE = 0.01
_SMALL = dict(
    DT=('a', 'the', 'two', 'an', 'some', 'his', 'this', 'three'),
    IN=('of', 'in', 'on', 'with', 'at', 'and', 'for', 'near', 'under', 'to', ',', 'from'),
)
# Kinds of words as they follow each other.
_PHRASES = (
    ('DT', 'NN'),
    ('DT', 'JJ', 'NN'),
    ('NN', 'NN'),
    ('JJ', 'NNS'),
    ('NNS',),
    ('DT', 'NN', 'NN'),
)
_LINKS = (('IN',), ('IN',), ('VBG',), ('VBZ',), ('VBN', 'IN'))
_DRAWN_AT_ONCE = 100_000


class GeneratedCaptions:
    """Captions whose length and variety of words are like those of web captions.

    Content words come from TextBlob's lexicon by their tags, the frequency of a word falling with
    its rank as in Zipf's law; ranks are drawn by lot. One word in a hundred is made up. Sentences
    follow a few patterns and make no sense: what is counted in them says nothing.

    Args:
        number: Of captions.
        seed: The same captions for the same seed and TextBlob.
    """

    def __init__(self, number: int, seed: int = 0) -> None:
        self.number = number
        self.seed = seed

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[str]:
        choose = random.Random(self.seed)
        words = {tag: self._drawn(tag, choose) for tag in ('NN', 'NNS', 'JJ', 'VBG', 'VBZ', 'VBN')}
        words |= {tag: self._endless(choose, list(few)) for tag, few in _SMALL.items()}
        for _ in range(self.number):
            length = round(choose.gauss(MEAN_WORDS, SPREAD))
            length = min(max(length, _FEWEST), _MOST)
            caption: list[str] = []
            while len(caption) < length:
                kinds = choose.choice(_PHRASES)
                if caption:
                    kinds = choose.choice(_LINKS) + kinds
                caption += [next(words[kind]) for kind in kinds]
            yield ' '.join(caption[:length])

    def _drawn(self, tag: str, choose: random.Random) -> Iterator[str]:
        """Words of a tag without end."""
        known = sorted(word for word in lexicon_words(tag) if word.isalpha() and word.islower())
        choose.shuffle(known)
        return self._endless(choose, known, _UNKNOWN_SHARE)

    @staticmethod
    def _endless(choose: random.Random, words: list[str], unknown: float = 0.0) -> Iterator[str]:
        weights = list(accumulate(1 / (rank + 2.7) for rank in range(len(words))))
        while True:
            for word in choose.choices(words, cum_weights=weights, k=_DRAWN_AT_ONCE):
                if unknown and choose.random() < unknown:
                    word = ''.join(choose.choices('aeioubdgklmnprstz', k=choose.randint(4, 10)))
                yield word


def lexicon_words(tag: str) -> list[str]:
    """Words to which TextBlob's lexicon gives this tag.

    Raises:
        ImportError: TextBlob is not installed.
    """
    from textblob.en import lexicon

    'cat' in lexicon  # noqa: B015  # it reads its file when it is first asked
    return [word for word, found in dict.items(lexicon) if found == tag]


def write_captions(captions: GeneratedCaptions, path: Path) -> int:
    """Write captions as a JSON-lines file or, by the suffix, a plain one; returns its bytes."""
    with open(path, 'w', encoding='utf-8') as file:
        for number, caption in enumerate(captions):
            if path.suffix == '.jsonl':
                caption = json.dumps(dict(image=f'{number:09d}.jpg', caption=caption))
            file.write(f'{caption}\n')
    return path.stat().st_size
