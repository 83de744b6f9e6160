# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Source of a test with everything it uses: fixtures, constants, helpers in tests/helpers."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


@cache
def module(path: Path) -> tuple[ast.Module, dict[str, ast.stmt]]:
    """A module and its top-level definitions, constants and imports by name."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (t for whole in targets for t in ast.walk(whole)):
                if isinstance(target, ast.Name):
                    names[target.id] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name.split('.')[0]] = node
    return tree, names


def source(reference: str) -> str:
    """Source of a test, ``path::name``, followed by that of all it uses.

    Raises:
        LookupError: There is no such test.
    """
    path, _, name = reference.partition('::')
    file = TESTS.parent / path
    if not file.is_file() or name not in module(file)[1] or not name.startswith('test_'):
        raise LookupError(f'there is no test {reference}')
    return '\n'.join(_parts(file, name, set()))


def _parts(path: Path, name: str, seen: set[tuple[Path, str]]) -> list[str]:
    names = module(path)[1]
    if name not in names:
        conftest = path.parent / 'conftest.py'  # where fixtures of a folder are
        if path == conftest or not conftest.is_file() or name not in module(conftest)[1]:
            return []
        path, names = conftest, module(conftest)[1]
    if (path, name) in seen:
        return []
    seen.add((path, name))
    node = names[name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        text = [ast.unparse(node)]
        helper = _file(getattr(node, 'module', None) or '')
        return text + (_parts(helper, name, seen) if helper else [])
    text = [ast.unparse(node)]
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            helper = _helper(names.get(inner.value.id), inner.value.id)
            if helper is not None:
                text += _parts(helper, inner.attr, seen)
        if isinstance(inner, ast.Name):
            text += _parts(path, inner.id, seen)
        elif isinstance(inner, ast.arg):  # perhaps a fixture
            text += _parts(path, inner.arg, seen)
    return text


def _file(module_name: str) -> Path | None:
    """File in tests/ of a module."""
    path = TESTS / f'{module_name.replace(".", "/")}.py'
    return path if path.is_file() else None


def _helper(node: ast.stmt | None, name: str) -> Path | None:
    """File in tests/ that a name was imported as, by ``pytest.importorskip`` perhaps."""
    if isinstance(node, ast.ImportFrom):
        found = [f'{node.module}.{a.name}' for a in node.names if name in (a.asname, a.name)]
    elif isinstance(node, ast.Import):
        found = [a.name for a in node.names if name in (a.asname, a.name)]
    elif isinstance(node, ast.Assign) and 'importorskip' in ast.unparse(node):
        found = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    else:
        found = []
    return _file(found[0]) if found else None
