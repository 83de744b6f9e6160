# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Prompt templates: named sets, and how a name is written into them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ...fileio import read_json

_SLOT = '{}'
_ALIASES = {'ensemble': 'ensemble81'}


@lru_cache
def _template_sets() -> dict[str, tuple[str, ...]]:
    content = read_json(Path(__file__).with_name('prompts.json'))
    return {name: tuple(templates) for name, templates in content['sets'].items()}


def get_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Templates of a named set, or the given ones after a check.

    Args:
        templates: ``'ensemble81'`` (the bare name and CLIP's 80 ImageNet templates, as in
            RegionCLIP; ``'ensemble'`` for short), ``'plain'`` (the bare name), ``'single'``
            ("a photo of a ..."), or a list of strings that each contain ``{}`` once.
    """
    if isinstance(templates, str):
        sets = _template_sets()
        name = _ALIASES.get(templates, templates)
        if name not in sets:
            raise ValueError(
                f'unknown template set {templates!r}; known: {sorted(sets)}; '
                'a template of your own goes into a list'
            )
        return sets[name]
    templates = tuple(templates)
    wrong = [template for template in templates if template.count(_SLOT) != 1]
    if wrong or not templates:
        raise ValueError(f'templates must each contain {_SLOT!r} once; these do not: {wrong[:5]}')
    return templates


def clean_name(name: str) -> str:
    """A name as prompts want it: commas deleted, plus signs become spaces (official rule)."""
    return name.replace(',', '').replace('+', ' ')


def clean_lvis_name(name: str) -> str:
    """An LVIS category name as words: ``'bow_(weapon)'`` becomes ``'bow weapon'``."""
    return name.replace('_', ' ').replace('(', '').replace(')', '')


def fill_prompts(name: str, templates: str | Sequence[str] = 'ensemble81') -> list[str]:
    """The name, cleaned, written into each template, in the order of the templates."""
    name = clean_name(name)
    return [template.replace(_SLOT, name) for template in get_templates(templates)]
