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
SOURCES = (
    'https://github.com/microsoft/RegionCLIP/blob/main/docs/MODEL_ZOO.md',
    'https://github.com/microsoft/RegionCLIP/issues/',
)
# Numbers that were not read where they were published, and what is said of such numbers.
RETIRED_NUMBERS = ('39.3', '61.6', '55.7', '14.2', '52.8', '42.7', '26.8', '54.8', '47.5', '17.1')
RETIRED_CLAIMS = re.compile(
    r'recalled|second-hand|papers\s?with\s?code|to be verified|not yet run|run here: false', re.I
)


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
    source = result['Source']
    assert source.startswith(SOURCES)
    mark = '[zoo]' if source.endswith('.md') else f'[{source.rpartition("/")[2]}]'
    row = next(line for line in ZOO.splitlines() if line.startswith(f'| `{Path(config).stem}`'))
    assert row.endswith(f'| {mark} |')
    header = ast.get_docstring(ast.parse((ROOT / config).read_text()))
    for value in result['Metrics'].values():
        assert str(value) in header and str(value) in row


@pytest.mark.parametrize('family', [*FAMILIES, 'custom', 'quickstart'])
def test_each_family_has_a_page_with_its_configs_and_numbers(family: str) -> None:
    page = (ROOT / 'configs' / family / 'README.md').read_text()
    for model in models(family):
        name = Path(model['Config']).name
        (row,) = [line for line in page.splitlines() if f']({name})' in line]
        assert ('no published number' in row) == (family in FAMILIES and 'Results' not in model)
        for result in model.get('Results', ()):
            assert result['Source'] in row
            assert all(f'{k} {v:.1f}' in row for k, v in result['Metrics'].items())


def test_only_numbers_that_were_measured_or_read_are_claimed() -> None:
    pages = [*ROOT.glob('docs/*.md'), *ROOT.glob('*.md')]
    configs = [p for p in (ROOT / 'configs').rglob('*') if p.suffix in ('.py', '.md', '.yml')]
    for path in (*pages, *configs):
        # the glossary lists the words it retires
        text = path.read_text().partition('\n## Words\n')[0]
        assert not RETIRED_CLAIMS.search(text), path
        if path in configs or path.name in ('model_zoo.md', 'recipes.md'):
            found = set(re.findall(r'(?<![\d.])\d+\.\d(?![\d.])', text))
            assert not found & set(RETIRED_NUMBERS), path


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
