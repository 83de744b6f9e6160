# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of things in running text: whole words, in singular and plural, with LVIS' synonyms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .categories import COCO_80, LVIS_V1, plain, synonyms

_WORD = re.compile(r'[^\W_]+')
_IRREGULAR = {
    'person': 'people',
    'man': 'men',
    'woman': 'women',
    'child': 'children',
    'foot': 'feet',
    'tooth': 'teeth',
    'goose': 'geese',
    'mouse': 'mice',
    'ox': 'oxen',
    'ski': 'skis',
    'cactus': 'cacti',
    'calf': 'calves',
    'half': 'halves',
    'leaf': 'leaves',
    'loaf': 'loaves',
    'scarf': 'scarves',
    'shelf': 'shelves',
    'thief': 'thieves',
    'wolf': 'wolves',
}
SINGULARS = {plural: word for word, plural in _IRREGULAR.items()}


def number_forms(name: str) -> set[str]:
    """A plain name in singular and plural, by the rules of English for its last word.

    Rules may give forms that do not exist ('sheeps'); in whole-word search they find nothing.
    """
    *first, last = name.split()
    forms = {last, _IRREGULAR.get(last, last), SINGULARS.get(last, last)}
    # of a name that is a plural already: scissors, skis, glasses, berries, knives
    if last.endswith('s') and not last.endswith(('ss', 'us', 'is')):
        forms.add(last[:-1])
        for plural, singulars in (('ies', ['y']), ('ves', ['f', 'fe']), ('es', [''])):
            if last.endswith(plural):
                forms.update(last.removesuffix(plural) + end for end in singulars)
    else:
        forms.update((last + 's', last + 'es') if last[-1] in 'sxzho' else (last + 's',))
        if re.search('[^aeiou]y$', last):
            forms.add(last[:-1] + 'ies')
        if last.endswith('fe'):
            forms.add(last[:-2] + 'ves')
    return {' '.join([*first, form]) for form in forms}


def forms_of(name: str) -> set[str]:
    """All forms under which a thing is looked for: the name, its LVIS synonyms, each number."""
    return {form for word in synonyms(name) for form in number_forms(word)}


class Mention(NamedTuple):
    """A name found in a text.

    Attributes:
        name: As given to the finder.
        form: The words found.
        inside: A longer name of COCO or LVIS around them ('hot dog' around 'dog'), or ''.
    """

    name: str
    form: str
    inside: str


class NameFinder:
    """Finds names in texts, one look-up per word and length.

    Args:
        names: Category names in any spelling ('bow_(weapon)', 'Hot Dog').
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.forms: dict[str, set[str]] = {name: forms_of(name) for name in self.names}
        self._of_form: dict[str, list[str]] = {}
        for name, forms in self.forms.items():
            for form in forms:
                self._of_form.setdefault(form, []).append(name)
        known = {plain(n) for c in LVIS_V1 for n in (c.name, *c.synonyms)} | set(COCO_80)
        self._known = {form for name in known for form in number_forms(name)}
        self._longest = max(len(form.split()) for form in self._known | set(self._of_form))

    def find(self, text: str) -> Iterator[Mention]:
        """All mentions in a text, from left to right."""
        words = _WORD.findall(text.lower())
        spans = [
            (start, end, ' '.join(words[start:end]))
            for start in range(len(words))
            for end in range(start + 1, min(start + self._longest, len(words)) + 1)
        ]
        known = [span for span in spans if span[2] in self._known]
        for start, end, form in spans:
            for name in self._of_form.get(form, ()):
                around = [
                    longer
                    for first, last, longer in known
                    if first <= start
                    and end <= last
                    # neither the form itself nor another word for it: 'teddy bear' around 'teddy'
                    and longer not in self.forms[name]
                ]
                yield Mention(name, form, around[-1] if around else '')
