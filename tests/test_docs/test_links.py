# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Links of README.md and docs/*.md lead to something, in a checkout and on the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import doc_pages

ROOT = doc_pages.ROOT


def problems(page: str, text: str) -> list[str]:
    """What is wrong with the links of a page that lies at this path."""
    found = []
    for link in doc_pages.links(text):
        if re.match(r'[a-z]+:', link):
            if not link.startswith(('https://', 'http://', 'mailto:')):
                found.append(f'{link}: neither a web address nor a relative path')
            continue
        path, _, anchor = link.partition('#')
        target = (ROOT / page).parent / path if path else ROOT / page
        if path.startswith('/'):
            found.append(f'{link}: absolute')
        elif not target.resolve().is_relative_to(ROOT):
            found.append(f'{link}: leads out of the checkout')
        elif path and not target.exists():
            found.append(f'{link}: there is no such file')
        elif anchor and target.suffix == '.md':
            wanted = text if not path else target.read_text(encoding='utf-8')
            if anchor not in doc_pages.anchors(wanted):
                found.append(f'{link}: no heading has this anchor')
    return found


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_links_lead_somewhere(page: str) -> None:
    assert not problems(page, doc_pages.read(page))


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_no_paths_of_one_machine(page: str) -> None:
    text = doc_pages.read(page)
    assert not re.findall(r'(?<![\w.])(?:/home/|/root/|/Users/|/work/|/tmp/|file://)\S*', text)


@pytest.mark.parametrize(
    ('text', 'wrong'),
    [
        ('[a](data.md)', 0),
        ('[a](data.md#metrics) and [b](#here)\n\n## Here\n', 0),
        ('[a](../README.md#installation)', 0),
        ('![p](images/quickstart_zero_shot.jpg)', 0),
        ('```\n[a](nothing.md)\n```\n`[b](nothing.md)` <!-- [c](nothing.md) -->', 0),
        ('[a](nothing.md)', 1),
        ('![p](images/nothing.jpg)', 1),
        ('<img src="images/nothing.jpg">', 1),
        ('[a](data.md#nothing)', 1),
        ('[a](#nothing)', 1),
        ('[a]: nothing.md', 1),
        ('[a](/etc/passwd)', 1),
        ('[a](../../../etc/passwd)', 1),
        ('[a](file:///etc/passwd)', 1),
    ],
)
def test_what_leads_nowhere_is_found(text: str, wrong: int) -> None:
    assert len(problems('docs/some_page.md', text)) == wrong


def test_anchors_as_code_hosts_make_them() -> None:
    text = (
        '# A `b-c` (d)\n## 1. Data\n## Data\n## Data\n```\n# not one\n```\n### *So*, [x](y) & z\n'
    )
    assert doc_pages.anchors(text) == {'a-b-c-d', '1-data', 'data', 'data-1', 'so-x--z'}


def test_every_image_is_shown() -> None:
    shown = {
        Path(link).name
        for page in doc_pages.NAMES
        for link in doc_pages.links(doc_pages.read(page))
    }
    there = {path.name for path in (ROOT / 'docs' / 'images').iterdir()}
    assert there <= shown, f'on no page: {sorted(there - shown)}'
