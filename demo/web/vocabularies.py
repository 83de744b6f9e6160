# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Words of visitors and lists of names become text embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from regionclip_mmdet.models.text import TextEmbeddings, clean_lvis_name
from regionclip_mmdet.recipes.name_lists import LISTS, LVIS_LISTS
from regionclip_mmdet.recipes.words import as_read, distinct_names, split_words

from .errors import UserError
from .turns import Turns, Waiting

Report = Callable[[int, int], None]
Embed = Callable[[Sequence[str]], TextEmbeddings]

_MAX_NAME = 200
_MAX_TEXT = 1_000_000


@dataclass(frozen=True)
class Preset:
    """A list of names that a visitor can choose.

    Attributes:
        title: title that is shown.
        names: Distinct names, as words.
    """

    title: str
    names: tuple[str, ...]


def make_presets(own: TextEmbeddings | None = None) -> tuple[Preset, ...]:
    """Lists to choose from: the model's own names, COCO's and LVIS'.

    Args:
        own: The vocabulary of the checkpoint, if it has one with names.
    """
    presets = []
    if own is not None and own.is_named:
        presets.append(Preset(f"The checkpoint's {len(own):,} names", own.names))
    titles = {
        'ov_coco_65': 'COCO, 65 names of the open-vocabulary split',
        'coco_80': 'COCO, all 80 names',
        'lvis_1203': 'LVIS, 1,203 names',
    }
    presets += [Preset(title, as_words(LISTS[key], key)) for key, title in titles.items()]
    return tuple(presets)


def as_words(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Names of a list as one would type them: ``'bow_(weapon)'`` of LVIS becomes ``'bow weapon'``.

    Args:
        names: names of the list.
        source: key of the list, see ``name_lists.LISTS``.
    """
    return tuple(map(clean_lvis_name, names)) if source in LVIS_LISTS else tuple(names)


def words_of(text: str) -> tuple[str, ...]:
    """Distinct names in what a visitor typed, by the rule of ``recipes.words``.

    Unlike ``parse_vocabulary``, never a file's name: visitors must not read the server's files.

    Raises:
        UserError: what cannot be a name, as markup and numbers, or is too long.
    """
    if len(text) > _MAX_TEXT:
        raise UserError(f'{len(text):,} characters are more than names need. Use fewer names.')
    try:
        names = split_words(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    for name in names:
        if len(name) > _MAX_NAME:
            raise UserError(
                f'One name has {len(name):,} characters: "{name[:40]}...". Names are short; put '
                'one on a line, or full stops between them.'
            )
    return tuple(distinct_names(names)[0])


class WordEmbedder:
    """Names to embeddings, from one source for a whole vocabulary.

    A list in hand (files of embeddings, the checkpoint's names) is used if it has all of the names,
    in whatever case;
    else all are embedded, with the same prompts: rows of other prompts would not compare. Safe to
    be used from several threads, which take turns: many names are embedded in parts, and others
    come in between.

    Args:
        embed: Names to embeddings; it should remember them, see ``EmbeddingCache``. None: there
            is no text encoder, only names of the lists can be used.
        lists: Embeddings in hand.
        turns: turns shared with all that computes.
        chunk: Names embedded together, between two reports of progress.
    """

    def __init__(
        self,
        embed: Embed | None,
        lists: Sequence[TextEmbeddings] = (),
        turns: Turns | None = None,
        chunk: int = 64,
    ) -> None:
        self._embed = embed
        self.lists = [_with_words(names) for names in lists if names.is_named]
        self.turns = turns or Turns()
        self.chunk = chunk
        self._spelled = [_spellings(names) for names in self.lists]

    @property
    def known(self) -> frozenset[str] | None:
        """The only names that can be used; None: any."""
        if self._embed is not None:
            return None
        return frozenset(name for names in self.lists for name in names.names)

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that ``embed`` would refuse; computes nothing.

        Raises:
            UserError: There is no text encoder, and no list has all the names.
        """
        if self._embed is None and self._in_hand(names) is None:
            raise UserError(self._why_unknown(names))

    def embed(
        self,
        names: Sequence[str],
        report: Report | None = None,
        told: Waiting | None = None,
    ) -> TextEmbeddings:
        """Embeddings of distinct names, in their order.

        Args:
            names: as ``words_of`` returns them.
            report: Called with the number of names done and of all.
            told: Called when others are first.

        Raises:
            UserError: There is no text encoder, and no list has all the names.
        """
        self.check(names)
        if (found := self._in_hand(names)) is not None:
            return found
        parts = []
        with self.turns.take(told):
            for start in range(0, len(names), self.chunk):
                if start:
                    self.turns.offer(told)
                if report is not None:
                    report(start, len(names))
                parts.append(self._embed(names[start : start + self.chunk]))
        matrix = torch.cat([part.matrix for part in parts])
        return TextEmbeddings(tuple(names), matrix, parts[0].provenance)

    def _in_hand(self, names: Sequence[str]) -> TextEmbeddings | None:
        for known, spelled in zip(self.lists, self._spelled, strict=True):
            found = [name if name in spelled else spelled.get(as_read(name)) for name in names]
            if None not in found:
                rows = known.select([spelled[name] for name in found]).matrix
                return TextEmbeddings(tuple(names), rows, known.provenance)
        return None

    def _why_unknown(self, names: Sequence[str]) -> str:
        known = {as_read(name) for name in self.known}
        unknown = [name for name in names if as_read(name) not in known]
        if not unknown:
            return (
                'This server has no text encoder, and no single list of its holds all of these '
                'names. Choose names of one list.'
            )
        shown = ', '.join(f'"{name}"' for name in unknown[:5])
        more = f' and {len(unknown) - 5:,} more' if len(unknown) > 5 else ''
        return (
            f'This server has no text encoder and knows {len(known):,} names; {shown}{more} '
            'are not among them. Choose a list whose names it has.'
        )


def _spellings(known: TextEmbeddings) -> dict[str, str]:
    """Names of a list under what CLIP reads of them: phones begin with a capital."""
    spelled: dict[str, str] = {}
    for name in known.names:
        spelled.setdefault(as_read(name), name)
    return {**spelled, **{name: name for name in known.names}}


def _with_words(known: TextEmbeddings) -> TextEmbeddings:
    """LVIS' names as words, like the preset's; others as they are."""
    for key in LVIS_LISTS:
        if known.names == LISTS[key]:
            return TextEmbeddings(as_words(known.names, key), known.matrix, known.provenance)
    return known
