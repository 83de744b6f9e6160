# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that the configs name, and the command that makes each of them.

The names follow rules, so that a missing file can be explained wherever it is missed:

* ``NAMES_ARCH.pth``, e.g. ``ov_coco_65_rn50.pth``: text embeddings of a list of names;
* ``RECOGNIZER_with_LOCALIZER.pth``, e.g. ``regionclip_rn50_with_rpn_coco_48.pth``, or either alone:
  a checkpoint converted from the files of others, or from one's own;
* ``SHARD.proposals.npz``, ``SHARD.teacher.npz``: proposals of a shard, a teacher's embeddings.
"""

from __future__ import annotations

import os
import re

from . import fileio

CLIP_ARCHS = {name.lower(): name for name in ('RN50', 'RN101', 'RN50x4', 'RN50x16', 'RN50x64')}
# Lists that tools/embed_names.py knows; recipes/name_lists.py has the names.
NAME_LISTS = ('coco_80', 'ov_coco_48', 'ov_coco_17', 'ov_coco_65', 'ov_lvis_866', 'lvis_1203')
_ARCH = '|'.join(CLIP_ARCHS)
_EMBEDDINGS = re.compile(rf'(?P<names>\w+?)_(?P<arch>{_ARCH})\.pth')
_CHECKPOINT = re.compile(
    rf'(?:(?P<kind>regionclip|clip)_(?P<arch>{_ARCH}))?(?:_with_)?(?P<localizer>rpn_\w+)?\.pth'
)


def how_to_make(path: str | os.PathLike) -> str:
    """What to do about a missing file, in one sentence that begins with 'Make it'.

    Args:
        path: path of the file, which is known by its name, in whatever folder.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    if name.endswith(('.proposals.npz', '.teacher.npz')):
        teacher = ' --teacher' if name.endswith('.teacher.npz') else ''
        return (
            f'Make it: python tools/pretrain/precompute_proposals.py CONFIG --out {folder}{teacher}'
        )
    found = _CHECKPOINT.fullmatch(name)
    if found and any(found.groups()):
        return _convert(found, path)
    found = _EMBEDDINGS.fullmatch(name)
    if found:
        names = found['names']
        if names not in NAME_LISTS:
            names = os.path.join(folder, f'{names}.txt')
        arch = CLIP_ARCHS[found['arch']]
        return f'Make it: python tools/embed_names.py {names} --arch {arch} -o {path}'
    return (
        'Make it with tools/embed_names.py if it holds embeddings of names, with '
        'tools/convert_checkpoint.py if it holds weights; docs/recipes.md has the commands.'
    )


def require_file(path: str | os.PathLike, what: str) -> None:
    """Refuse a local file that is not there; addresses are left to whoever reads them.

    Args:
        path: path of the file, or an address with ``://``.
        what: kind of file, for the message.

    Raises:
        FileNotFoundError: It does not exist; the message says how to make it.
        PermissionError: It may not be read.
    """
    if '://' not in os.fspath(path):
        fileio.require_file(path, what, how_to_make(path))


def _convert(found: re.Match[str], path: str) -> str:
    """The command that makes a checkpoint from downloads."""
    sources = []
    if found['kind'] == 'clip':
        sources.append(f'{CLIP_ARCHS[found["arch"]]}/openai')
    elif found['kind']:
        sources.append(f'downloads/regionclip_pretrained-cc_{found["arch"]}.pth')
    if found['localizer']:
        sources.append(f'downloads/{found["localizer"]}.pth')
    return (
        f'Make it: python tools/convert_checkpoint.py {" ".join(sources)} -o {path} (from the '
        'official files, or your own checkpoints in their place; docs/recipes.md)'
    )
