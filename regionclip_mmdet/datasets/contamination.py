# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which novel names a training set has seen after all: in its classes, captions or concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from .categories import plain
from .names_in_text import NameFinder, number_forms


@dataclass
class TextMentions:
    """What a set of texts says about one name.

    Attributes:
        texts: Texts with the name or a synonym.
        inside: Those of them in which it occurs only as a part of longer names ('hot dog').
        forms: How often each form occurs on its own.
        longer: How often it is a part of each longer name.
    """

    texts: int = 0
    inside: int = 0
    forms: Counter = field(default_factory=Counter)
    longer: Counter = field(default_factory=Counter)

    @property
    def alone(self) -> int:
        """Texts in which the name stands for itself."""
        return self.texts - self.inside

    def to_json(self) -> dict[str, Any]:
        """All counts as plain types; ``dataclasses.asdict`` takes counters apart."""
        return {**vars(self), 'forms': dict(self.forms), 'longer': dict(self.longer)}


@dataclass(frozen=True)
class ClassMention:
    """A training class that is, or has in its name, a novel one.

    Attributes:
        name: The training class.
        boxes: Its annotations.
        same: It is the novel class or a synonym of it; else the novel name is a part of its name.
    """

    name: str
    boxes: int
    same: bool


def search_texts(
    finder: NameFinder, texts: Sequence[str], progress: bool = True
) -> dict[str, TextMentions]:
    """Count names in texts, for example captions or a list of concepts.

    Args:
        finder: Finder of the novel class names.
        texts: Any texts.
        progress: Show a progress bar.
    """
    found = {name: TextMentions() for name in finder.names}
    for text in tqdm(texts, unit='texts', disable=not progress):
        seen: dict[str, bool] = {}  # name: always inside a longer one
        for mention in finder.find(text):
            counts = found[mention.name]
            if mention.inside:
                counts.longer[mention.inside] += 1
            else:
                counts.forms[mention.form] += 1
            seen[mention.name] = seen.get(mention.name, True) and bool(mention.inside)
        for name, inside in seen.items():
            found[name].texts += 1
            found[name].inside += inside
    return found


def search_classes(finder: NameFinder, content: Mapping[str, Any]) -> dict[str, list[ClassMention]]:
    """Look for names among the classes of COCO- or LVIS-format annotations.

    Args:
        finder: Finder of the novel class names.
        content: With ``categories`` (``synonyms`` of LVIS files are used) and ``annotations``.
            Categories without a single annotation are left out: nothing was learned from them.

    Returns:
        For every novel name its training classes.
    """
    boxes = Counter(annotation['category_id'] for annotation in content['annotations'])
    found: dict[str, list[ClassMention]] = {name: [] for name in finder.names}
    for category in content['categories']:
        if not boxes[category['id']]:
            continue
        own = {plain(word) for word in (category['name'], *category.get('synonyms', ()))}
        forms = set().union(*(number_forms(word) for word in own if word))
        parts = {mention.name for word in own for mention in finder.find(word)}
        for name in finder.names:
            same = bool(finder.forms[name] & forms)
            if same or name in parts:
                count = boxes[category['id']]
                found[name].append(ClassMention(category['name'], count, same))
    return found


def class_report(found: Mapping[str, Sequence[ClassMention]]) -> list[str]:
    """Lines for the console: the worst first, then a summary."""
    lines = []
    for name, mentions in sorted(found.items(), key=lambda item: -_boxes(item[1])):
        if mentions:
            classes = ', '.join(
                f'{m.name} ({m.boxes} boxes{"" if m.same else "; part of its name"})'
                for m in mentions
            )
            lines.append(f'  {name}: {classes}')
    hit = sum(any(m.same for m in mentions) for mentions in found.values())
    total = sum(_boxes(mentions) for mentions in found.values())
    return [*lines, f'{hit} of {len(found)} names are training classes, with {total} boxes.']


def _boxes(mentions: Iterable[ClassMention]) -> int:
    return sum(mention.boxes for mention in mentions if mention.same)


def text_report(found: Mapping[str, TextMentions], total: int) -> list[str]:
    """Lines for the console: the most frequent first, then a summary."""
    lines = []
    for name, counts in sorted(found.items(), key=lambda item: -item[1].alone):
        if counts.texts:
            forms = ', '.join(f'{form} {n}' for form, n in counts.forms.most_common(4))
            line = f'  {name}: {counts.alone} texts{f" ({forms})" if forms else ""}'
            if counts.longer:
                longer = ', '.join(f'{form} {n}' for form, n in counts.longer.most_common(3))
                line += f'; inside longer names: {longer}'
            lines.append(line)
    hit = sum(counts.alone > 0 for counts in found.values())
    return [*lines, f'{hit} of {len(found)} names occur in {total} texts.']
