# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The documentation site: every page has its place, every public name its entry, and it builds."""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import doc_pages

ROOT = doc_pages.ROOT
SITE = ROOT / 'docs' / 'site'
NAVIGATION = runpy.run_path(str(SITE / 'navigation.py'))
API_PAGES = runpy.run_path(str(SITE / 'api_pages.py'))
PACKAGE = ROOT / 'regionclip_mmdet'


def test_every_page_has_one_place() -> None:
    placed = [page for pages in NAVIGATION['PAGES'].values() for page in pages]
    assert len(placed) == len(set(placed))
    there = {path.stem for path in (ROOT / 'docs').glob('*.md')}
    assert there <= set(placed), f'in no group of docs/site/navigation.py: {there - set(placed)}'


def test_every_package_has_one_place() -> None:
    placed = [name for _, packages in NAVIGATION['API'].values() for name in packages]
    assert len(placed) == len(set(placed))
    placed += NAVIGATION['INTERNAL']
    there = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert there <= set(placed), f'in no group of docs/site/navigation.py: {there - set(placed)}'


def test_pages_hold_every_public_name(tmp_path: Path) -> None:
    written = API_PAGES['write_pages'](PACKAGE, tmp_path, NAVIGATION['API'])
    assert {'models', 'datasets', 'checkpoints'} <= set(written)
    shown: dict[object, list[str]] = {}
    for page in written:
        lines = (tmp_path / f'{page}.rst').read_text().splitlines()
        for i, line in enumerate(lines):
            if line.startswith('.. automodule:: '):
                module = importlib.import_module(line.split()[-1])
                for name in lines[i + 1].removeprefix('   :members: ').split(', '):
                    shown.setdefault(name, []).append(module.__name__)
                    assert getattr(module, name).__doc__
    twice = {name: modules for name, modules in shown.items() if len(modules) > 1}
    assert not twice
    # found another way: by importing every package
    internal = set(NAVIGATION['INTERNAL'])
    for folder in API_PAGES['packages'](PACKAGE):
        parts = folder.relative_to(PACKAGE).parts
        if parts and parts[0] not in internal:
            module = importlib.import_module('.'.join(['regionclip_mmdet', *parts]))
            public = {n for n in getattr(module, '__all__', ()) if not n.startswith('__')}
            classes = {n for n in public if not type(getattr(module, n)).__name__ == 'module'}
            assert classes <= set(shown), module.__name__


def test_names_of_an_inner_package_are_shown_there(tmp_path: Path) -> None:
    root = tmp_path / 'package'
    for folder, text in {
        'a': "from .b import X\nfrom .c import Y\n__all__ = ['X', 'Y', 'b', '__version__']\n",
        'a/b': "from .d import X\n__all__ = ['X']\n",
    }.items():
        (root / folder).mkdir(parents=True)
        (root / folder / '__init__.py').write_text(text)
    (root / '__init__.py').write_text('')
    (root / 'a' / 'c.py').write_text('')
    names = API_PAGES['public_names'](root)
    assert names == {root: (), root / 'a': ('Y',), root / 'a' / 'b': ('X',)}


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    for module in ('sphinx', 'myst_parser', 'furo'):
        pytest.importorskip(module, reason='make docs installs it')
    options = ['-q', '-W', '--keep-going', '-c', 'docs/site', '-d', str(tmp_path / 'doctrees')]
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', *options, '.', str(tmp_path / 'html')],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    front = (tmp_path / 'html' / 'index.html').read_text()
    assert 'quickstart_zero_shot.jpg' in front and 'docs/api/models.html' in front
    for path in (tmp_path / 'html').rglob('*.html'):
        text = path.read_text()
        assert '<!-- tested-by' not in text, path
        for asset in ('<script src="http', '<link rel="stylesheet" href="http', '@import url(http'):
            assert asset not in text, path
