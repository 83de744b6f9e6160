# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Back ends by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .nouns import Noun, NounBackend, Run
from .textblob_nouns import TextBlobNouns


class SpacyNouns:
    """Nouns as spaCy's tagger sees them: slower than the lexicon, better with ambiguous words.

    Args:
        model: Name or folder of an installed spaCy pipeline with a tagger and a lemmatiser.

    Raises:
        ImportError: spaCy is not installed.
        OSError: The model is not.
    """

    def __init__(self, model: str = 'en_core_web_sm') -> None:
        try:
            import spacy
        except ImportError as error:
            raise ImportError(
                f'{error}. Install spaCy and a model, or use the textblob back end:\n'
                f'    pip install "spacy>=3.7,<4" && python -m spacy download {model}'
            ) from None
        try:
            self._pipeline = spacy.load(model, exclude=['ner', 'parser'])
        except OSError as error:
            raise OSError(
                f'spaCy model {model} is not installed ({error}). Get it with:\n'
                f'    python -m spacy download {model}'
            ) from None

    def find(self, captions: Iterable[str]) -> Iterator[list[Run]]:
        """Runs of nouns of each caption."""
        for tokens in self._pipeline.pipe(caption.lower() for caption in captions):
            runs: list[list[Noun]] = []
            before = False
            for token in tokens:
                is_noun = token.pos_ in ('NOUN', 'PROPN') and len(token.text) > 1
                if is_noun:
                    if not before:
                        runs.append([])
                    runs[-1].append(Noun(token.text, token.lemma_.lower()))
                before = is_noun
            yield runs


BACKENDS: dict[str, Callable[..., NounBackend]] = {'textblob': TextBlobNouns, 'spacy': SpacyNouns}


def make_backend(name: str = 'textblob', **options: Any) -> NounBackend:
    """A back end.

    Args:
        name: Key of ``BACKENDS``.
        **options: Arguments of its constructor.

    Raises:
        ValueError: No such back end.
        ImportError: What it needs is not installed; the message has the command.
    """
    if name not in BACKENDS:
        raise ValueError(f'no back end {name!r}; there are {", ".join(BACKENDS)}.')
    return BACKENDS[name](**options)
