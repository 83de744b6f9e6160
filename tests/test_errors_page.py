# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every test that docs/errors.md names exists, and its tables are whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'errors.md'
SECTIONS = [
    'Data',
    'Captions',
    'Proposals',
    'Vocabularies',
    'Own images, own words',
    'Checkpoints',
    'Training',
]
HEADER = ['what is wrong', 'when it is noticed', 'what you see', 'what to do', 'test']


def tables() -> dict[str, list[list[str]]]:
    """Rows of cells by section."""
    parts = re.split(r'^## (.+)$', PAGE.read_text(), flags=re.M)[1:]
    return {
        title: [
            [cell.strip() for cell in line.strip('|').split('|')]
            for line in text.splitlines()
            if line.startswith('|')
        ]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def exists(reference: str) -> bool:
    """Whether a test, or a test of a class, is there."""
    path, *names = reference.split('::')
    if not (ROOT / path).is_file():
        return False
    node: ast.AST = ast.parse((ROOT / path).read_text())
    for name in names:
        found = [n for n in getattr(node, 'body', ()) if getattr(n, 'name', None) == name]
        if not found:
            return False
        node = found[0]
    return isinstance(node, ast.FunctionDef) and names[-1].startswith('test_')


def test_sections_and_tables_are_whole() -> None:
    found = tables()
    assert list(found) == SECTIONS
    for title, rows in found.items():
        assert rows[0] == HEADER and len(rows) > 2, title
        for row in rows:
            assert len(row) == len(HEADER) and all(row), (title, row)


@pytest.mark.parametrize('section', SECTIONS)
def test_every_test_named_exists(section: str) -> None:
    for row in tables()[section][2:]:
        references = re.findall(r'`(tests/[^`]+)`', row[-1])
        assert references, f'no test: {row[0]}'
        for reference in references:
            assert exists(reference), reference


def test_missing_tests_would_be_noticed() -> None:
    assert exists('tests/test_errors_page.py::test_missing_tests_would_be_noticed')
    assert not exists('tests/test_errors_page.py::test_that_nobody_wrote')
    assert not exists('tests/test_errors_page.py') and not exists('tests/test_nothing.py::test_x')
