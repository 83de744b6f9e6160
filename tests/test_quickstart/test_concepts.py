# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names found in captions."""

import pytest

from examples.quickstart.concepts import concept_pool, noun_phrases
from examples.shapes_world.captions import TEMPLATES, describe
from regionclip_mmdet.datasets.shapes_world import CLASSES


@pytest.mark.parametrize(
    ('caption', 'expected'),
    [
        ('a photo of a red circle', ['red circle']),
        (
            'An orange star, a blue ring and another blue ring',
            ['orange star', 'blue ring', 'blue ring'],
        ),
        ('we can see a red moon next to a cyan cross', ['red moon', 'cyan cross']),
        ('a green heart on a plain sheet', ['green heart']),
        ('a large shiny teapot on the table', ['large shiny teapot']),
        ('nothing to see here', []),
        ('', []),
    ],
)
def test_noun_phrases(caption: str, expected: list[str]) -> None:
    assert noun_phrases(caption) == expected


def test_every_caption_pattern_yields_its_names_and_nothing_else() -> None:
    names = [CLASSES[0], CLASSES[13], CLASSES[40], CLASSES[13]]
    for template in TEMPLATES:
        for next_to in (False, True):
            caption = template.format(describe(names, next_to))
            assert noun_phrases(caption) == names, caption


def test_concept_pool_counts_and_drops_rare_names() -> None:
    captions = ['a red circle and a blue star', 'a red circle', 'a photo of a red circle']
    assert concept_pool(captions, min_count=1) == {'red circle': 3, 'blue star': 1}
    assert concept_pool(captions, min_count=2) == {'red circle': 3}
