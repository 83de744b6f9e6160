# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""API pages of the site, written from what the packages export.

Packages are read, not imported: ``__all__`` and the relative imports of each ``__init__.py`` say
which names are public and where they come from. A name that several packages export is shown
once, in the package deepest inside.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

PACKAGE = 'regionclip_mmdet'


def exports(folder: Path) -> tuple[str, ...]:
    """Names in ``__all__`` of the package in a folder, without dunder names."""
    for node in ast.parse((folder / '__init__.py').read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__':
            return tuple(n for n in ast.literal_eval(node.value) if not n.startswith('__'))
    return ()


def modules(folder: Path) -> set[str]:
    """Modules that the package in a folder imports as such, by ``from . import``."""
    tree = ast.parse((folder / '__init__.py').read_text(encoding='utf-8'))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {a.name for node in nodes if node.level and not node.module for a in node.names}


def packages(folder: Path) -> list[Path]:
    """A package and all packages inside it, by name."""
    return sorted(p.parent for p in folder.rglob('__init__.py') if '.mim' not in p.parts)


def public_names(root: Path) -> dict[Path, tuple[str, ...]]:
    """What to show of each package: its exports that no package inside it exports, too.

    Args:
        root: Folder of the outermost package.
    """
    result = {}
    everything = packages(root)
    for folder in everything:
        inside = [p for p in everything if p != folder and p.is_relative_to(folder)]
        elsewhere = {name for p in inside for name in exports(p)} | {p.name for p in inside}
        own = (name for name in exports(folder) if name not in elsewhere | modules(folder))
        result[folder] = tuple(sorted(own, key=lambda name: (name[0].islower(), name)))
    return result


def write_pages(root: Path, target: Path, pages: dict[str, tuple[str, Sequence[str]]]) -> list[str]:
    """Write a page for each entry whose packages are there.

    Args:
        root: Folder of the outermost package.
        target: Folder of the pages; what is there and not written now is removed.
        pages: Title and packages by name of the page.

    Returns:
        Names of the pages written.
    """
    names = public_names(root)
    texts = {}
    for page, (title, wanted) in pages.items():
        sections = []
        for below in wanted:
            chosen = [root] if not below else [p for p in names if p.is_relative_to(root / below)]
            sections += [section(root, folder, names[folder]) for folder in chosen if names[folder]]
        if sections:
            texts[f'{page}.rst'] = f'{title}\n{"=" * len(title)}\n\n' + '\n'.join(sections)
    target.mkdir(parents=True, exist_ok=True)
    for path in target.glob('*.rst'):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = target / name
        # untouched where nothing changed, so that Sphinx need not read it again
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
    return [Path(name).stem for name in texts]


def section(root: Path, folder: Path, names: Sequence[str]) -> str:
    """Docstring and names of one package."""
    module = '.'.join([PACKAGE, *folder.relative_to(root).parts])
    return '\n'.join(
        [
            module,
            '-' * len(module),
            '',
            f'.. automodule:: {module}',
            f'   :members: {", ".join(names)}',
            '   :show-inheritance:',
            '',
        ]
    )
