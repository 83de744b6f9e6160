# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Words of visitors and lists of names become text embeddings."""

from __future__ import annotations

import re
import string
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..models.text import TextEmbeddings, clean_lvis_name
from ..recipes.name_lists import LISTS, LVIS_LISTS
from .errors import UserError

Report = Callable[[int, int], None]
Embed = Callable[[Sequence[str]], TextEmbeddings]

# Names embedded between two reports of progress.
_CHUNK = 64
_MAX_NAME = 200
_LONE_STOP = re.compile(r'(?:(?<=\s)|^)\.(?=\s|$)')
_STOP = re.compile(r'\.(?=\s|$)')
_COMMA = re.compile(r'[,;]')


@dataclass(frozen=True)
class Preset:
    """A list of names that a visitor can choose.

    Attributes:
        title: As shown.
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
        names: Of the list.
        source: Its key, see ``name_lists.LISTS``.
    """
    return tuple(map(clean_lvis_name, names)) if source in LVIS_LISTS else tuple(names)


def words_of(text: str) -> tuple[str, ...]:
    """Distinct names in what a visitor typed.

    Several lines are one name a line, unless a full stop stands alone somewhere, as in
    ``'traffic cone . red umbrella .'``; one line is split at full stops, else at commas and
    semicolons. Outer white space goes, white space within is one space, and what occurs again, in
    whatever case, or has nothing but punctuation is dropped. Unlike ``parse_vocabulary``, never a
    file's name: visitors must not read the server's files.

    Raises:
        UserError: A name is too long, or has characters that are no text.
    """
    names: dict[str, str] = {}
    for name in (' '.join(part.split()) for part in _split(text.strip())):
        if not name.strip(string.punctuation):
            continue
        if len(name) > _MAX_NAME:
            raise UserError(
                f'One name has {len(name):,} characters: "{name[:40]}...". Names are short; put '
                'one on a line, or full stops between them.'
            )
        # a lone surrogate is half a character
        if not all(c.isprintable() or c in '\u200c\u200d' for c in name):
            raise UserError(f'{name!a} has characters that are no text. Type it anew.')
        names.setdefault(name.casefold(), name)
    return tuple(names.values())


def _split(text: str) -> list[str]:
    if _LONE_STOP.search(text):
        return re.split(rf'{_LONE_STOP.pattern}|[\r\n]+', text)
    lines = text.splitlines()
    if len(lines) > 1:
        return lines
    return (_STOP if _STOP.search(text) else _COMMA).split(text)


class WordEmbedder:
    """Names to embeddings, from one source for a whole vocabulary.

    A list in hand (files of embeddings, the checkpoint's names) is used if it has all of the names,
    in whatever case;
    else all are embedded, with the same prompts: rows of other prompts would not compare. Safe to
    be used from several threads.

    Args:
        embed: Names to embeddings; it should remember them, see ``apis.NameEmbedder``. None: there
            is no text encoder, only names of the lists can be used.
        lists: Embeddings in hand.
    """

    def __init__(self, embed: Embed | None, lists: Sequence[TextEmbeddings] = ()) -> None:
        self._embed = embed
        self.lists = [_with_words(names) for names in lists if names.is_named]
        self._lock = threading.Lock()

    @property
    def known(self) -> frozenset[str] | None:
        """The only names that can be used; None: any."""
        if self._embed is not None:
            return None
        return frozenset(name for names in self.lists for name in names.names)

    def embed(self, names: Sequence[str], report: Report | None = None) -> TextEmbeddings:
        """Embeddings of distinct names, in their order.

        Args:
            names: As ``words_of`` gives them.
            report: Called with the number of names done and of all.

        Raises:
            UserError: There is no text encoder, and no list has all the names.
        """
        for known in self.lists:
            spelled = {name.casefold(): name for name in known.names}
            spelled.update((name, name) for name in known.names)
            # CLIP reads capitals as small letters, and phones begin with a capital
            found = [spelled.get(name) or spelled.get(name.casefold()) for name in names]
            if None not in found:
                return TextEmbeddings(tuple(names), known.select(found).matrix, known.provenance)
        if self._embed is None:
            raise UserError(self._why_unknown(names))
        parts = []
        with self._lock:  # two visitors with one list: the second finds what the first had made
            for start in range(0, len(names), _CHUNK):
                if report is not None:
                    report(start, len(names))
                parts.append(self._embed(names[start : start + _CHUNK]))
        matrix = torch.cat([part.matrix for part in parts])
        return TextEmbeddings(tuple(names), matrix, parts[0].provenance)

    def _why_unknown(self, names: Sequence[str]) -> str:
        known = {name.casefold() for name in self.known}
        unknown = [name for name in names if name.casefold() not in known]
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


def _with_words(known: TextEmbeddings) -> TextEmbeddings:
    """LVIS' names as words, like the preset's; others as they are."""
    for key in LVIS_LISTS:
        if known.names == LISTS[key]:
            return TextEmbeddings(as_words(known.names, key), known.matrix, known.provenance)
    return known
