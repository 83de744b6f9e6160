# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Prompt sets and the cleaning of names."""

import pytest

from regionclip_mmdet.models.text import clean_lvis_name, fill_prompts, get_templates


def test_ensemble_has_81_distinct_templates() -> None:
    templates = get_templates('ensemble81')
    assert len(templates) == len(set(templates)) == 81
    assert templates[0] == '{}.' and all(t.count('{}') == 1 for t in templates)
    assert get_templates('ensemble') == templates


def test_small_sets() -> None:
    assert fill_prompts('cat', 'plain') == ['cat.']
    assert fill_prompts('cat', 'single') == ['a photo of a cat.']
    assert fill_prompts('cat', ['the {}', 'my {}!']) == ['the cat', 'my cat!']


def test_official_cleaning() -> None:
    assert fill_prompts('hot dog, bun', 'plain') == ['hot dog bun.']
    assert fill_prompts('T-shirt+jeans', 'plain') == ['T-shirt jeans.']
    assert fill_prompts('a {} b', 'plain') == ['a {} b.']


def test_lvis_names_are_cleaned_on_request_only() -> None:
    assert clean_lvis_name('bow_(decorative_ribbons)') == 'bow decorative ribbons'
    assert fill_prompts('aerosol_can', 'plain') == ['aerosol_can.']


def test_bad_templates_are_named() -> None:
    with pytest.raises(ValueError, match='ensemble81'):
        get_templates('ensemble80')
    with pytest.raises(ValueError, match='no slot'):
        get_templates(['a {}', 'no slot'])
    with pytest.raises(ValueError, match='once'):
        get_templates([])
