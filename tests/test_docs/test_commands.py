# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Commands in the pages fit the scripts, configs, make targets and extras that are there."""

from __future__ import annotations

import ast
import importlib
import itertools
import re

import pytest
from mmengine.config import Config

from helpers import doc_commands, doc_pages
from helpers.doc_commands import WrongCommand
from helpers.doc_pages import Block, ToolCall

ROOT = doc_pages.ROOT
BLOCKS = doc_pages.all_blocks('bash', 'sh', 'shell', 'console')
EXAMPLES = doc_pages.all_blocks('python')
CALLS = [
    pytest.param(call, id=f'{block.page}:{block.line}-{call.tool}')
    for block in BLOCKS
    for call in map(doc_pages.tool_call, block.commands())
    if call
]
MAKEFILE = (ROOT / 'Makefile').read_text()
PROJECT = (ROOT / 'pyproject.toml').read_text()
# Packages of extras, which the tests do not need.
OPTIONAL = ('gradio', 'onnx', 'onnxruntime', 'onnxscript', 'spacy', 'tensorboard', 'wandb')


def check(call: ToolCall) -> None:
    """The script takes these arguments, and the config has what is overridden."""
    try:
        found = doc_commands.parse(call)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f'{call.tool} needs {error.name}, which is not installed')
    changes = getattr(found, 'cfg_options', None) or {}
    if changes and str(found.config).startswith('configs/'):
        cfg = Config.fromfile(ROOT / found.config)
        for key in set(changes) - {doc_pages.PRINTED.partition('=')[0]}:
            parent = key.rpartition('.')[0]
            if not has(cfg, parent):
                raise WrongCommand(f'{found.config} has no {parent}, so {key} is none of it')


def has(cfg: Config, key: str) -> bool:
    value = cfg
    for part in filter(None, key.split('.')):
        if part not in value:
            return False
        value = value[part]
    return True


@pytest.mark.parametrize('call', CALLS)
def test_arguments_are_those_of_the_script(call: ToolCall) -> None:
    check(call)


@pytest.mark.parametrize(
    'command',
    [
        'python tools/train.py CONFIG --no-such-option',
        'python tools/train.py',
        'python tools/no_such_tool.py x',
        'bash tools/dist_train.sh CONFIG',
        'bash tools/dist_test.sh CONFIG CHECKPOINT 8 --no-such-option',
        'python tools/benchmark.py inference --no-such-option 1',
        'python tools/train.py configs/quickstart/clip.py --cfg-options model.no_such.part=1',
    ],
)
def test_wrong_commands_are_found(command: str) -> None:
    (words,) = doc_pages.split_line(command)
    with pytest.raises(WrongCommand):
        check(doc_pages.tool_call(words))


@pytest.mark.parametrize(
    'tool',
    [
        'demo/image_demo.py',
        'tools/data/prepare_ov_coco.py',
        'tools/data/prepare_ov_lvis.py',
        'tools/extract_region_features.py',
        'tools/pretrain/precompute_proposals.py',
    ],
)
def test_a_folder_for_results_has_mmdets_name_and_ours(tool: str) -> None:
    assert {'--out', '--out-dir'} <= doc_commands.options(tool)


def test_words_of_commands() -> None:
    text = (
        "A=1 python tools/train.py 'a b' \\\n  --x $(python tools/test.py y)  # no\ncat <a | b >c"
    )
    found = Block('p', 1, 'bash', None, text).commands()
    assert found == [
        ['A=1', 'python', 'tools/train.py', 'a b', '--x', doc_pages.PRINTED],
        ['python', 'tools/test.py', 'y'],
        ['cat'],
        ['b'],
    ]


def code(page: str) -> list[str]:
    """Inline code and lines of blocks."""
    text = doc_pages.read(page)
    inline = re.findall(r'(?<!`)`([^`\n]+)`(?!`)', text)
    return inline + [line for b in doc_pages.blocks(text, page) for line in b.text.splitlines()]


def expand(text: str) -> list[str]:
    """Shell braces, as in ``a_{b,c}.py``."""
    parts = [p.split(',') for p in re.split(r'[{}]', text)]
    return [''.join(choice) for choice in itertools.product(*parts)]


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_files_that_are_named_exist(page: str) -> None:
    lost = []
    for line in code(page):
        for path in re.findall(r'(?<![\w/.])(?:configs|tools|demo|tests)/[\w/{},.*-]+', line):
            path = path.rstrip('.,')
            # the recipes' table says which of its combinations there are
            if not any(list(ROOT.glob(name)) for name in expand(path)):
                lost.append(path)
    assert not lost


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_make_targets_and_variables_exist(page: str) -> None:
    targets = set(re.findall(r'^([\w-]+):', MAKEFILE, flags=re.M))
    variables = set(re.findall(r'^(\w+) \?=', MAKEFILE, flags=re.M))
    for line in code(page):
        for words in re.findall(r'(?:^|[\s&;])make((?: (?:[A-Z_]+=\S*|[a-z][\w-]*))+)', line):
            for word in words.split():
                name, equals, _ = word.partition('=')
                assert name in (variables if equals else targets), f'make {word}'


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_extras_exist(page: str) -> None:
    section = re.search(r'\[project.optional-dependencies\]\n(.*?)\n\[', PROJECT, flags=re.S)[1]
    extras = set(re.findall(r'^(\w+) = \[', section, flags=re.M))
    for line in code(page):
        for names in re.findall(r"(?:['\"\s]\.|regionclip_mmdet|\.whl)\[([\w,]+)\]", line):
            assert set(names.split(',')) <= extras, line


@pytest.mark.parametrize('page', doc_pages.NAMES)
def test_options_in_the_text_exist(page: str) -> None:
    """Inline code such as ``tools/x.py CONFIG --option N``."""
    for span in re.findall(
        r'(?<!`)`([^`]+)`(?!`)', doc_pages.prose_with_code(doc_pages.read(page))
    ):
        words = span.split()
        call = doc_pages.tool_call(words)
        wanted = {w.partition('=')[0] for w in call.arguments if w.startswith('--')} if call else ()
        if wanted:
            assert wanted <= doc_commands.options(call.tool), span


@pytest.mark.parametrize('example', EXAMPLES, ids=str)
def test_examples_compile_and_their_imports_are_there(example: Block) -> None:
    tree = ast.parse(example.text)
    compile(tree, str(example), 'exec')
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('regionclip_mmdet'):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f'{node.module}.{alias.name}'
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith('regionclip_mmdet'):
                    importlib.import_module(alias.name)
