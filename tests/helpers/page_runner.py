# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Commands run as the pages have them, word for word, in a folder of generated files.

Our Python scripts run in this process. What makes them small is added behind their documented
arguments, or lies in the files that the command names.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from mmengine.config import Config

from helpers import doc_pages
from helpers.doc_pages import Block


def block(page: str, part: str) -> Block:
    """The only block of a page in which some words occur."""
    (found,) = [b for b in doc_pages.blocks(doc_pages.read(page), page) if part in b.text]
    return found


def run(
    page: str,
    part: str,
    added: Mapping[str, Sequence[object]] | None = None,
    instead: Mapping[str, object] | None = None,
) -> None:
    """Run the commands of a block in the current folder, one after another.

    Args:
        page: Path below the checkout.
        part: Words that occur in this block alone.
        added: Further arguments by script, for example ``--any-size`` for small annotation files.
        instead: Words for those that stand for something, such as ``CONFIG``.
    """
    for words in block(page, part).commands():
        call(words, added or {}, instead or {})


def call(
    words: Sequence[str],
    added: Mapping[str, Sequence[object]],
    instead: Mapping[str, object],
) -> None:
    """Run one command; for the arguments see ``run``."""
    assert not Path.cwd().is_relative_to(doc_pages.ROOT)
    words = [str(instead.get(word, word)) for word in words]
    tool = doc_pages.tool_call(words)
    if tool is None:
        subprocess.run(words, check=True)
        return
    assert words[0] == 'python' and tool.tool.endswith('.py'), words
    more = added.get(Path(tool.tool).stem, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool.tool, *tool.arguments, *map(str, more)])
        runpy.run_path(str(doc_pages.ROOT / tool.tool), run_name='__main__')


def write_config(cfg: Config, path: Path) -> None:
    """Write a whole config, not formatted, which would take longer than what it is for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in cfg.to_dict().items()))
