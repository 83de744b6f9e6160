# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Metafiles and pages name every experiment, with the same numbers and their sources."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest
import yaml

from regionclip_mmdet.config_paths import shipped_configs

ROOT = Path(__file__).parents[2]
FAMILIES = ('localizers', 'ov_coco', 'ov_lvis', 'pretrain', 'supervised', 'zero_shot')
ZOO = (ROOT / 'docs' / 'model_zoo.md').read_text()
RECIPES = (ROOT / 'docs' / 'recipes.md').read_text()
MARKS = {
    'official model zoo': 'zoo',
    'paperswithcode': 'pwc',
    'second-hand': '2nd',
    'recalled from the paper, to be verified': 'recalled',
    'a thread of the official repository': 'thread',
}


def models(family: str) -> list[dict]:
    return yaml.safe_load((ROOT / 'configs' / family / 'metafile.yml').read_text())['Models']


@pytest.mark.parametrize('family', [*FAMILIES, 'custom'])
def test_metafiles_have_every_config_once(family: str) -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert f'configs/{family}/metafile.yml' in index
    named = [model['Config'] for model in models(family)]
    there = [f'configs/{family}/{path.name}' for path in shipped_configs(family)]
    assert sorted(named) == sorted(there)
    assert all(model['Name'] == Path(model['Config']).stem for model in models(family))


def published() -> list[tuple[str, dict]]:
    return [
        (model['Config'], result)
        for family in FAMILIES
        for model in models(family)
        for result in model.get('Results', ())
    ]


@pytest.mark.parametrize(('config', 'result'), published())
def test_numbers_have_sources_and_are_the_same_everywhere(config: str, result: dict) -> None:
    assert result['Run Here'] is False
    assert set(result['Source']) == set(result['Metrics'])
    assert set(result['Source'].values()) <= set(MARKS)
    row = next(line for line in ZOO.splitlines() if line.startswith(f'| `{Path(config).stem}` '))
    header = ast.get_docstring(ast.parse((ROOT / config).read_text()))
    for metric, value in result['Metrics'].items():
        assert str(value) in header
        if 'zero-shot' in config:
            assert re.search(rf'{value}[^|;]*\[{MARKS[result["Source"][metric]]}\]', row), metric
        else:
            assert f'| {value} [{MARKS[result["Source"][metric]]}] |' in row, metric


def test_the_page_of_numbers_has_no_others() -> None:
    """Every row of a table of results says that it was not run."""
    rows = [line for line in ZOO.splitlines() if re.match(r'\| `', line)]
    assert len(rows) >= 12
    assert all(row.endswith('| not run |') for row in rows)
    known = {str(v) for _, result in published() for v in result['Metrics'].values()}
    found = set(re.findall(r'\d+\.\d(?= \[|\s/)', '\n'.join(rows)))
    # COCO captions: no config alone gives them
    assert found - {'26.8', '54.8', '47.5'} <= known


def expand(text: str) -> list[str]:
    """Shell braces, as in ``a_{b,c}.py``."""
    parts = [p.split(',') for p in re.split(r'[{}]', text)]
    return [''.join(choice) for choice in itertools.product(*parts)]


def test_recipes_name_files_that_exist() -> None:
    patterns = re.findall(r'configs/[\w/{},.*-]+\.py', RECIPES)
    assert len(patterns) > 12
    for name in {name for pattern in patterns for name in expand(pattern)}:
        if name.startswith('configs/zero_shot/clip') and name.endswith(('17.py', '48.py')):
            continue  # said below the table
        assert list(ROOT.glob(name)), name
    for tool in set(re.findall(r'(?<!\w)tools/[\w/]+\.(?:py|sh)', RECIPES)):
        assert (ROOT / tool).is_file(), tool
    for option in ('--batch-size', '--gpus', '--accumulate', '--plain'):
        assert option in (ROOT / 'tools/scale_schedule.py').read_text()


def test_pages_are_linked() -> None:
    readme = (ROOT / 'README.md').read_text()
    for page in ('recipes', 'model_zoo'):
        assert f'(docs/{page}.md)' in readme
    for text in (RECIPES, ZOO):
        for page in re.findall(r'\]\(([\w.]+\.md)\)', text):
            assert (ROOT / 'docs' / page).is_file(), page
