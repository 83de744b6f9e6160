# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Words that the glossary in docs/architecture.md retires occur nowhere else."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / 'docs' / 'architecture.md'
SUFFIXES = ('.py', '.md', '.yml', '.toml', '.cfg', '.cff', '.sh', '.txt', '.html', '.css')
# Calls whose arguments are old names that still work.
ALIASES = ('old_names', 'register_old_type', 'renamed', 'warn_once')
# Old names that configs keep, prompts and captions (those of the shapes world, too, and the words
# that name no object in them), and patterns of this kind of test.
KEPT = re.compile(
    r"pseudo_label_pictures|\bpicture of (?:a|an|the)\b|coco65_region_naming|r'recalled\|.*run here"
    r"|'a picture of \{\}'|'\{\} in a picture'|'photo picture image drawing"
)
# Recorded data and what is written by hand about it; the history of names.
SKIPPED = ('tests/data/', 'CHANGELOG.md', 'tests/test_words.py', 'LICENSE', 'requirements/')


@cache
def retired() -> list[str]:
    """Words in the last column of the glossary."""
    section = GLOSSARY.read_text().partition('\n## Words\n')[2].partition('\n## ')[0]
    rows = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('| ')]
    return [word for row in rows for word in re.findall(r'`([^`]+)`', row[2])]


def without_aliases(text: str) -> str:
    """A module with the calls that keep old names alive left out."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and node.end_lineno:
            name = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
            if name in ALIASES:
                lines[node.lineno - 1 : node.end_lineno] = [''] * (
                    node.end_lineno - node.lineno + 1
                )
    return '\n'.join(lines)


def found(path: Path, text: str) -> list[str]:
    """Lines with a retired word."""
    if path.suffix == '.py':
        text = without_aliases(text)
    if path == GLOSSARY:
        before, _, section = text.partition('\n## Words\n')
        text = before + section.partition('\n## ')[2]
    words = re.compile('|'.join(map(re.escape, retired())), re.I)
    return [
        f'{path.name}:{number}: {line.strip()}'
        for number, line in enumerate(text.splitlines(), 1)
        if words.search(KEPT.sub('', line))
    ]


def files(folder: str) -> list[Path]:
    """Tracked text files of a folder, or those beside the folders."""
    where = [f'{folder}/'] if folder else []
    listed = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard', *where],
        cwd=ROOT, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    return [
        ROOT / name
        for name in listed
        if name.endswith(SUFFIXES) and not name.startswith(SKIPPED) and (ROOT / name).is_file()
        and not (ROOT / name).is_symlink() and (folder or '/' not in name)
    ]  # fmt: skip


FOLDERS = ('', *sorted(p.name for p in ROOT.iterdir() if p.is_dir() and p.name[0] != '.'))


@pytest.mark.parametrize('folder', FOLDERS)
def test_retired_words_are_gone(folder: str) -> None:
    lines = [line for path in files(folder) for line in found(path, path.read_text())]
    assert not lines, '\n'.join(lines)


@pytest.mark.parametrize(
    ('text', 'count'),
    [
        ('draw_picture = 1', 1),
        ('def failing_together(): ...', 1),
        ('# Made anew', 1),
        ("prompts = ['a picture of a {}']", 0),
        ("TEMPLATES = (\n    'a picture of {}',\n    '{} in a picture',\n)", 0),
        ("__getattr__ = old_names(__name__, dict(\n    picture_colors='x',\n))", 0),
    ],
)
def test_retired_words_are_found(text: str, count: int) -> None:
    assert {'picture', 'by falling', 'innermost'} <= set(retired())
    assert len(found(ROOT / 'some.py', text)) == count
