# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a back end finds in a caption, and which concepts that makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

Kind = Literal['words', 'phrases', 'both']
KINDS: tuple[Kind, ...] = ('words', 'phrases', 'both')


class Noun(NamedTuple):
    """A noun of a caption.

    Attributes:
        word: As written, in lower case.
        lemma: In the singular.
        alone: Whether it may be a concept of its own; False for words that only qualify the noun
            behind them ('stop' of 'stop sign').
    """

    word: str
    lemma: str
    alone: bool = True


Run = Sequence[Noun]
"""Nouns that follow each other in a text with nothing between them: 'fire truck'."""


class NounBackend(Protocol):
    """Finds nouns. Its answer for a caption must depend on that caption alone."""

    def find(self, captions: Iterable[str]) -> Iterator[list[Run]]:
        """Runs of nouns of each caption, in the order of the captions and from left to right."""
        ...


def concepts_of(runs: Iterable[Run], kind: Kind = 'words') -> Iterator[str]:
    """Concepts that a caption names; one that is named twice comes twice.

    Args:
        runs: Nouns of one caption, as a back end finds them.
        kind: 'words': each noun by itself. 'phrases': each run as a whole, with its last noun in
            the singular ('sports ball'), which is what the official pools count, except that
            those have the first nouns in the singular, too. 'both': words, and phrases of
            several words.
    """
    for run in runs:
        if kind != 'phrases':
            yield from [noun.lemma for noun in run if noun.alone]
        if kind == 'phrases' or (kind == 'both' and len(run) > 1):
            yield ' '.join([*(noun.word for noun in run[:-1]), run[-1].lemma])
