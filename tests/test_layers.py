# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Imports go one way: from higher layers to lower ones, and never out of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / 'regionclip_mmdet'
OUTSIDE = {'examples', 'benchmarks', 'checks', 'demo', 'tests', 'tools', 'helpers'}
# From top to bottom. Packages of one layer may import each other, without cycles among them.
LAYERS = [
    {'features', 'export'},
    {'pretraining'},
    {'apis'},
    {'recipes', 'conversion', 'resumable_job'},
    {'engine'},
    {'models', 'models.detectors'},
    {'models.roi_heads'},
    {
        'models.backbones',
        'models.encoded_image',
        'models.localizers',
        'models.losses',
        'models.post_processing',
        'models.precision',
        'models.recognition',
        'models.region_encoders',
        'models.task_modules',
        'models.text',
        'models.weights',
    },
    {'evaluation', 'concepts'},
    {'datasets'},
    {'visualization'},
    {'checkpoints'},
    {
        'compat',
        'config_paths',
        'contracts',
        'default_scope',
        'fileio',
        'inert',
        'known_files',
        'registry',
        'renames',
        'utils',
        'version',
    },
]
HEIGHT = {name: -number for number, layer in enumerate(LAYERS) for name in layer}
# Importing file, imported package: why it may.
EXCEPTIONS = {
    # imported when called: texts that mmdet's tools give with an image are split by its parser
    ('models/detectors/open_vocabulary_rcnn.py', 'apis'),
}


def part_of(module: str) -> str:
    """The package or module that has a place in ``LAYERS``; '' for the whole package."""
    words = module.split('.')[1:]
    if words[:1] == ['models'] and '.'.join(words[:2]) in HEIGHT:
        return '.'.join(words[:2])
    return words[0] if words else ''


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    package = ['regionclip_mmdet', *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = '.'.join([*above, *filter(None, [node.module])])
            yield from (f'{base}.{alias.name}' for alias in node.names)


def sources() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob('*.py')) if '.mim' not in p.parts]


def test_every_part_has_a_layer() -> None:
    parts = {p.relative_to(PACKAGE).parts[0].removesuffix('.py') for p in sources()}
    assert parts - set(HEIGHT) <= {'__init__', '__main__'}
    models = {p.relative_to(PACKAGE).parts[1].removesuffix('.py') for p in sources()
              if p.relative_to(PACKAGE).parts[0] == 'models'}  # fmt: skip
    assert {f'models.{name}' for name in models - {'__init__'}} <= set(HEIGHT)


def test_imports_go_down() -> None:
    wrong, used = [], set()
    for path in sources():
        name = path.relative_to(PACKAGE).as_posix()
        own = part_of('regionclip_mmdet.' + name.removesuffix('.py').replace('/', '.'))
        for module in imports_of(path):
            if module.partition('.')[0] != 'regionclip_mmdet' or own in ('__init__', '__main__'):
                continue
            other = part_of(module)
            if (name, other) in EXCEPTIONS:
                used.add((name, other))
            elif other not in HEIGHT or HEIGHT[other] > HEIGHT[own]:
                wrong.append(f'{name} imports {module}')
    assert not wrong, '\n'.join(wrong)
    assert used == EXCEPTIONS


def test_the_package_imports_nothing_beside_it() -> None:
    wrong = [
        f'{path.relative_to(PACKAGE)} imports {module}'
        for path in sources()
        for module in imports_of(path)
        if module.partition('.')[0] in OUTSIDE
    ]
    assert not wrong, '\n'.join(wrong)


def test_what_every_run_needs_knows_no_model() -> None:
    for path in sorted((PACKAGE / 'engine' / 'robust').glob('*.py')):
        parts = {part_of(m) for m in imports_of(path) if m.startswith('regionclip_mmdet')}
        assert parts <= {'engine', 'compat', 'fileio', 'inert'}, path.name
