# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading large annotation files with checks; writing several files, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ... import fileio
from ...fileio import naming_write_errors, write_whole
from ..checks import LVIS_LISTS, check_coco, is_id_list, shown

_CHUNK = 2000


def read_annotations(path: str | Path) -> dict[str, Any]:
    """Content of a COCO- or LVIS-format file, checked.

    Raises:
        FileNotFoundError: No such file.
        ValueError: See ``check_coco``.
    """
    path = Path(path)
    fileio.require_file(
        path,
        'annotation file',
        'docs/data.md says where to download it and where it belongs; --help names the options '
        'for other places.',
    )
    print(f'reading {path} ({path.stat().st_size / 1e6:.0f} MB)', flush=True)
    content = fileio.read_json(path, 'annotation file')
    check_coco(content, str(path))
    for number, image in enumerate(content['images']):
        for key in LVIS_LISTS:
            if key in image and not is_id_list(image[key]):
                raise ValueError(
                    f'{path}, image {number} (id {image["id"]}): {key} must be a list of category '
                    f'ids, not {shown(image[key])}.'
                )
    return content


def write_all(contents: Mapping[Path, Any], progress: bool = True) -> None:
    """Write files of JSON (``.json``) or lines (other suffixes, from lists of str).

    All are written next to their places first and moved together at the end: an interrupted run
    changes nothing. The bytes depend on the contents alone.

    Args:
        contents: Path to content.
        progress: Show a progress bar per file.

    Raises:
        OSError: A file could not be written; none of them was replaced.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            unfinished = stack.enter_context(write_whole(path))
            with naming_write_errors(path):
                _write(unfinished, path.name, content, progress)


def _write(path: Path, name: str, content: Any, progress: bool) -> None:
    with open(path, 'w', encoding='utf-8', newline='\n') as file:
        if not name.endswith('.json'):
            file.writelines(f'{line}\n' for line in content)
        else:
            total = sum(len(part) for part in content.values() if isinstance(part, list))
            with tqdm(total=total, desc=name, unit='rows', disable=not progress) as bar:
                for piece, rows in _pieces(content):
                    file.write(piece)
                    bar.update(rows)


def _pieces(content: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """JSON text in pieces with the number of list entries in each: bounds memory."""
    for place, (key, value) in enumerate(content.items()):
        yield f'{"," if place else "{"}{json.dumps(key)}:', 0
        if not isinstance(value, list):
            yield json.dumps(value, ensure_ascii=False, separators=(',', ':')), 0
            continue
        yield '[', 0
        for start in range(0, len(value), _CHUNK):
            chunk = value[start : start + _CHUNK]
            text = json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))
            yield (',' if start else '') + text[1:-1], len(chunk)
        yield ']', 0
    yield '}' if content else '{}', 0
