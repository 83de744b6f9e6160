# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every command and example in the pages names the test that runs it, or what it needs.

The mark is the line before the fence: ``<!-- tested-by: tests/test_x.py::test_name -->`` (several
tests with blanks between them) or ``<!-- needs: COCO, GPU -->``.
"""

from __future__ import annotations

import ast
import re

import pytest

from helpers import doc_pages, named_tests
from helpers.doc_pages import Block

LANGUAGES = ('bash', 'sh', 'shell', 'console', 'python')
NEEDS = {
    'COCO',
    'LVIS',
    'CC3M',
    'CLIP weights',
    'RegionCLIP weights',
    'GPU',
    'network',
    'slurm',
    'own data',
    'browser',
    'camera',
}
RUNS = re.compile(r'subprocess\.|Popen|run_path\(|\bmain\(')
COMMAND = re.compile(r' *(?:\$ )?(?:[A-Z_]+=\S+ )*(?:python3?|bash|make|pip|torchrun|mim|git) \S')


def missing_in(source: str, block: Block) -> list[str]:
    """Scripts of a block of commands that a test with this source does not run."""
    # a test that takes the text of the block from the page runs all of it
    if 'page_runner' in source and any(
        page == block.page and part in block.text for page, part in named_blocks(source)
    ):
        return []
    wanted = {call.tool for call in map(doc_pages.tool_call, block.commands()) if call}
    return [tool for tool in sorted(wanted) if not runs(source, tool)]


def named_blocks(source: str) -> list[tuple[str, str]]:
    """Pages and words of blocks that are arguments of calls."""
    return re.findall(r"\('((?:docs/)?\w+\.md)', '([^']+)'", source)


def runs(source: str, tool: str) -> bool:
    name = tool.rpartition('/')[2]
    named = name in source or f"'{name.rpartition('.')[0]}'" in source
    # a script is run by calling its own main, too
    module = tool.removesuffix('.py').replace('/', '.')
    named = named or f'from {module} import main' in source
    # a script that only calls a function of the package is run by calling that
    package = '(?:regionclip_mmdet|benchmarks|checks|demo|examples)'
    text = (doc_pages.ROOT / tool).read_text()
    inside = re.search(rf'from ({package}\.\S+) import main', text)
    named = named or bool(inside and f'from {inside[1]} import' in source)
    return named and RUNS.search(source) is not None


def problem(block: Block) -> str | None:
    """What is wrong with the mark of a block."""
    if block.mark is None:
        return 'has no mark: name the test that runs it, or what it needs'
    kind, value = block.mark
    if kind == 'needs':
        unknown = {word.strip() for word in value.split(',')} - NEEDS
        return f'needs {sorted(unknown)}: not a word of {sorted(NEEDS)}' if unknown else None
    left: set[str] | None = None
    for reference in block.tests():
        try:
            source = named_tests.source(reference)
        except LookupError as error:
            return str(error)
        missing = set(missing_in(source, block))
        left = missing if left is None else left & missing
        if block.language == 'python' and not shows_or_repeats(source, block):
            return f'{reference} neither reads the page nor uses the same names'
    return f'not run by {value}: {sorted(left)}' if left else None


def shows_or_repeats(source: str, block: Block) -> bool:
    """Whether a test reads the page of an example, or uses what the example imports and builds."""
    if block.page.rpartition('/')[2] in source:
        return True
    nodes = list(ast.walk(ast.parse(block.text)))
    names = {a.name for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names}
    # methods and functions of modules that are called
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    names |= {call.attr for call in calls if isinstance(call, ast.Attribute)}
    names |= set(re.findall(r"\btype='(\w+)'", block.text))
    return bool(names) and all(re.search(rf'\b{name}\b', source) for name in names)


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_every_block_is_run_or_says_what_it_needs(page: str) -> None:
    blocks = [b for b in doc_pages.blocks(doc_pages.read(page), page) if b.language in LANGUAGES]
    assert not {str(b): problem(b) for b in blocks if problem(b)}


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_commands_are_in_blocks_that_can_be_marked(page: str) -> None:
    text = doc_pages.read(page)
    other = [b for b in doc_pages.blocks(text, page) if b.language not in LANGUAGES]
    hidden = [str(b) for b in other if any(COMMAND.match(line) for line in b.text.splitlines())]
    assert not hidden, 'mark these blocks as bash'
    indented = [line for line in doc_pages.prose(text).splitlines() if re.match(' {4}', line)]
    assert not [line for line in indented if COMMAND.match(line)], 'use ```bash'


def block(text: str, mark: str = '', language: str = 'bash') -> Block:
    lines = [mark, f'```{language}', text, '```']
    (found,) = doc_pages.blocks('\n'.join(lines), 'docs/page.md')
    return found


@pytest.mark.parametrize(
    ('mark', 'wrong'),
    [
        ('', 'has no mark'),
        ('<!-- needs: COCO, GPU -->', None),
        ('<!-- needs: patience -->', 'patience'),
        ('<!-- tested-by: tests/test_docs/test_marks.py::test_nothing -->', 'no test'),
        ('<!-- tested-by: tests/test_docs/test_nothing.py::test_x -->', 'no test'),
        # it exists, but runs no converter
        ('<!-- tested-by: tests/test_docs/test_links.py::test_links_lead_somewhere -->', 'not run'),
        ('<!-- tested-by: tests/test_checkpoints/test_conversion.py::test_safetensors -->', 'not'),
        (
            '<!-- tested-by: tests/test_checkpoints/test_conversion.py::test_tool_merges_and_names'
            ' -->',
            None,
        ),
    ],
)
def test_marks_that_say_nothing_are_found(mark: str, wrong: str | None) -> None:
    found = problem(block('python tools/convert_checkpoint.py a.pth -o b.pth', mark))
    assert found is None if wrong is None else wrong in found


def test_sources_include_what_a_test_uses() -> None:
    source = named_tests.source('tests/test_datasets/test_preparation.py::test_ov_lvis')
    # a helper and a fixture of the file, a function of another file and nothing else of it
    assert 'runpy.run_path' in source and 'LVIS_OBJECTS' in source
    assert 'not_exhaustive_category_ids' in source and 'def coco_instances' not in source
