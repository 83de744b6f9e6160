# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Nouns of English captions without downloads: TextBlob's lexicon, simplemma's lemmas."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from ..datasets.names_in_text import SINGULARS
from .nouns import Noun, Run

# Words of Latin letters, with inner apostrophes and hyphens; other signs one by one.
_TOKEN = re.compile(r"[a-zß-öø-ɏ]+(?:['-][a-zß-öø-ɏ]+)*|[^\sa-zß-öø-ɏ]")
# "dog's ball": two things, so the sign stays between them.
_POSSESSIVE = re.compile(r"'s?(?![^\W_])")

# A verb cannot follow these, so a word behind them that the lexicon holds for one is a noun.
_BEFORE_NOUNS = frozenset(
    'a an the some another two three four five six seven eight nine ten several many few his '
    'their its my your our'.split()
)
# Words with these tags are nouns or not by their neighbors.
_UNDECIDED = frozenset(['VB', 'VBP', 'VBZ', 'JJ'])
# Behind these tags, or at the end of a sentence, a noun phrase is over.
_PHRASE_OVER = frozenset(['', 'IN', 'TO', 'VBZ', 'VBP', 'VBD', 'WDT', '.', ',', ':'])

# Nouns to the lexicon, things to nobody.
_NO_THINGS = frozenset(
    'something anything everything nothing someone somebody anyone anybody everyone everybody '
    'nobody none'.split()
)
# What simplemma takes for a verb ('lense', 'ski'), or separates though it is used in the plural.
_OWN_LEMMAS = {
    **SINGULARS,
    'lenses': 'lens',
    'skies': 'sky',
    'tvs': 'tv',
    **{
        word: word
        for word in 'binoculars dice goggles headphones overalls pliers shorts sunglasses tongs '
        'trousers tweezers'.split()
    },
}


class TextBlobNouns:
    """Nouns by a lexicon of tags, word by word, and two rules about neighbors.

    The tags are those of TextBlob's ``PatternTagger``, which reads each word by itself; so a table
    of words seen does the work once. Two rules mend what neighbors make certain: behind a
    determiner or a number, a verb is a noun ('two bears'), or qualifies the noun that follows
    ('a stop sign'); an adjective is a noun if the phrase is over behind it ('an orange on').

    Text is read in lower case, as captions differ in it: proper names are nouns like others. Only
    words of at least two Latin letters count.

    Raises:
        ImportError: TextBlob or simplemma is not installed.
    """

    def __init__(self) -> None:
        try:
            import simplemma
            from textblob.en.taggers import PatternTagger
        except ImportError as error:
            raise ImportError(
                f'{error}. Nouns are found with TextBlob and simplemma; install both:\n'
                '    pip install "regionclip_mmdet[concepts]", or what that brings:\n'
                '    pip install "textblob>=0.20,<0.21" "simplemma>=2.0,<3"'
            ) from None
        tagger = PatternTagger()

        @cache
        def tag(word: str) -> str:
            found = tagger.tag(word, tokenize=False)
            return found[0][1] if found else ''

        @cache
        def lemma(word: str) -> str:
            return _OWN_LEMMAS.get(word) or simplemma.lemmatize(word, lang='en').lower()

        @cache
        def by_itself(word: str) -> Noun | str | None:
            """The noun it always is, None if it never is one, else its tag: neighbors decide."""
            found = tag(word)
            if len(word) < 2 or word in _NO_THINGS:
                return None
            if found.startswith('NN'):
                # Lemmas of singular words would turn 'painting' into 'paint'.
                return Noun(word, lemma(word) if found.endswith('S') else word)
            return found if found in _UNDECIDED else None

        by_itself('dogs')  # reads both tables now, so that forked workers share them
        self._tag = tag
        self._lemma = lemma
        self._by_itself = by_itself

    def find(self, captions: Iterable[str]) -> Iterator[list[Run]]:
        """Runs of nouns of each caption."""
        return map(self._runs, captions)

    def _runs(self, caption: str) -> list[Run]:
        if not caption.isascii():
            caption = unicodedata.normalize('NFKC', caption).replace('’', "'")
        text = caption.lower()
        words = _TOKEN.findall(_POSSESSIVE.sub(" ' ", text) if "'" in text else text)
        runs: list[list[Noun]] = []
        current: list[Noun] | None = None
        for place, noun in enumerate(map(self._by_itself, words)):
            if noun.__class__ is str:
                noun = self._by_neighbors(place, words, noun)
            if noun is None:
                current = None
            elif current is None:
                current = [noun]
                runs.append(current)
            else:
                current.append(noun)
        return runs

    def _by_neighbors(self, place: int, words: list[str], tag: str) -> Noun | None:
        """The word as a noun, or None if it is none."""
        if place == 0 or words[place - 1] not in _BEFORE_NOUNS:
            return None
        word, behind = words[place], self._tag(words[place + 1]) if place + 1 < len(words) else ''
        if tag == 'VBZ':
            return Noun(word, self._lemma(word))
        if tag == 'JJ':
            return Noun(word, word) if behind in _PHRASE_OVER else None
        return Noun(word, word, alone=not behind.startswith('NN'))
