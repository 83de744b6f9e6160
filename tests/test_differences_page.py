# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every test that docs/differences.md names exists, and its tables are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_errors_page import exists

PAGE = Path(__file__).parents[1] / 'docs' / 'differences.md'
HEADER = ['what', 'official code', 'here', 'for the official behavior', 'test']
ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in PAGE.read_text().splitlines()
    if line.startswith('|') and not line.startswith('|---')
]


def test_tables_are_whole() -> None:
    assert ROWS.count(HEADER) == 3
    for row in ROWS:
        assert len(row) == len(HEADER) and row[0] and row[1] and row[2] and row[4], row


@pytest.mark.parametrize('row', [r for r in ROWS if r != HEADER], ids=lambda row: row[0])
def test_every_test_named_exists(row: list[str]) -> None:
    (reference,) = re.findall(r'^`(tests/[^`]+)`$', row[-1])
    assert exists(reference), reference
