# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions of shapes-world images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TEMPLATES: tuple[str, ...] = (
    'a photo of {}',
    'a picture of {}',
    'an image showing {}',
    'this is {}',
    'there is {}',
    'we can see {}',
    '{}',
    '{} in a picture',
    '{} on a colored background',
)


def with_article(name: str) -> str:
    """'red circle' -> 'a red circle', 'orange star' -> 'an orange star'."""
    return f'{"an" if name[0] in "aeiou" else "a"} {name}'


def describe(names: Sequence[str], next_to: bool = False) -> str:
    """Join names into a phrase: 'a red ring, a blue star and another red ring'.

    Args:
        names: Category names, at least one. A repeated name becomes 'another ...'.
        next_to: Put 'next to' instead of 'and' before the last one.
    """
    phrases = [
        f'another {name}' if name in names[:i] else with_article(name)
        for i, name in enumerate(names)
    ]
    if len(phrases) == 1:
        return phrases[0]
    link = ' next to ' if next_to else ' and '
    return ', '.join(phrases[:-1]) + link + phrases[-1]


def sample_captions(
    rng: np.random.Generator, names: Sequence[str], number: tuple[int, int]
) -> list[str]:
    """Draw a few different captions for the objects of one image.

    Each caption names all objects, or a random subset of at least two where there are more.

    Args:
        rng: Source of randomness.
        names: Category names of the objects in the image.
        number: Smallest and largest number of captions.
    """
    captions: list[str] = []
    for template in rng.permutation(len(TEMPLATES))[: rng.integers(number[0], number[1] + 1)]:
        order = rng.permutation(len(names))
        if len(names) > 2 and rng.random() < 0.5:
            order = order[: rng.integers(2, len(names) + 1)]
        phrase = describe([names[i] for i in order], next_to=bool(rng.random() < 0.3))
        captions.append(TEMPLATES[template].format(phrase))
    return captions
