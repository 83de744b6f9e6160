# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where a run begins: at its latest checkpoint that is whole, or at other weights."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.config import Config, DictAction
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...compat.checkpoints import load_plain
from ...fileio import check_zip, require_file
from .once import OnceHook
from .ranks import raise_on_all_ranks

# File names, and whether they count epochs.
TEMPLATES = {'iter_{}.pth': False, 'epoch_{}.pth': True}


@HOOKS.register_module()
class ResumeHook(OnceHook):
    """Lets ``--resume`` go on from the latest whole checkpoint, or begin with ``load_from``.

    mmengine follows the file ``last_checkpoint``, whose checkpoint may be damaged, and at a first
    start mmdet's ``train.py`` drops ``load_from``. Part of the default runtime config; our training
    loops do the same, see ``choose_start``.
    """

    # before the hook that looks for the checkpoint
    priority = 'HIGHEST'

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        choose_start(runner)


def choose_start(runner: Runner, load_from: str | None = None) -> None:
    """Settle where a run with ``resume=True`` and no ``load_from`` begins; others as they are.

    It goes on from the checkpoint with the most iterations that is whole. At a first start there is
    none: it begins with ``load_from``. Called by all processes; the first one decides, and its log
    says what was passed over and why.

    Args:
        runner: Runner that has loaded nothing yet.
        load_from: Weights that the run would begin with if it were not to resume; by default those
            of the config's file or the command line.
    """
    if runner._resume is not True or runner._load_from is not None or runner._has_loaded:
        return
    found: list[str | None] = [None]
    with raise_on_all_ranks():
        if is_main_process():
            found = [newest_checkpoint(runner, runner.logger.warning)]
    broadcast_object_list(found)
    if found[0] is not None:
        runner.logger.info(f'Going on from {found[0]}, the latest whole checkpoint.')
        runner._load_from = found[0]
        return
    load_from = load_from or _given_load_from(runner)
    begins = f'with the weights of load_from={load_from}' if load_from else 'without any'
    runner.logger.warning(
        f'There is no checkpoint to resume in {runner.work_dir}: a new run begins, {begins}.'
    )
    runner._resume, runner._load_from = False, load_from


def newest_checkpoint(runner: Runner, say: Callable[[str], None]) -> str | None:
    """The checkpoint of a run with the most iterations that is whole.

    Looked for where the run's ``CheckpointHook`` writes them, under its names, too; else what the
    file ``last_checkpoint`` names is taken.

    Args:
        runner: Runner of the run.
        say: Called with a sentence on each checkpoint that is passed over.
    """
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    folders, templates = [runner.work_dir], dict(TEMPLATES)
    if hook is not None:
        templates[hook.filename_tmpl] = hook.by_epoch
        if hook.out_dir is not None and '://' not in str(hook.out_dir):
            folders.append(os.path.join(hook.out_dir, os.path.basename(runner.work_dir)))
    found = newest_whole_checkpoint(*folders, templates=templates, say=say)
    if found is not None:
        return str(found)
    pointer = Path(runner.work_dir) / 'last_checkpoint'
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in named:  # elsewhere: as mmengine does
        return named
    return named if named and _why_not(Path(named), say) is None else None


def newest_whole_checkpoint(
    *folders: str | os.PathLike,
    templates: dict[str, bool] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path | None:
    """The checkpoint with the most iterations that can be read to its end.

    Times of files say nothing: they may have been copied. Each file is read and compared with its
    checksums.

    Args:
        *folders: Paths of folders to look in.
        templates: Names of checkpoints, ``{}`` for the number, and whether that counts epochs.
        say: Called with a sentence on each checkpoint that is passed over.

    Returns:
        None if there is none.
    """
    best: dict[bool, Path] = {}
    for by_epoch in (True, False):
        wanted = [name for name, kind in (templates or TEMPLATES).items() if kind == by_epoch]
        for path in _by_number(folders, wanted):
            if _why_not(path, say) is None:
                best[by_epoch] = path
                break
    if len(best) < 2:
        return next(iter(best.values()), None)
    # of the same iteration the one written at the end of the epoch: more is behind it
    return max(best.values(), key=_iterations)


def _by_number(folders: Sequence[str | os.PathLike], templates: Sequence[str]) -> list[Path]:
    """Files of these names, the highest number first; also links that lead nowhere."""
    patterns = []
    for template in templates:
        before, *after = re.split(r'\{[^}]*\}', template, maxsplit=1)
        number = rf'(\d+){re.escape(after[0])}' if after else '()'  # one file for all
        patterns.append(re.compile(re.escape(before) + number))
    found = []
    for folder in folders:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            for match in filter(None, (pattern.fullmatch(name) for pattern in patterns)):
                found.append((int(match[1] or 0), Path(folder) / name))
    return [path for _, path in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _why_not(path: Path, say: Callable[[str], None]) -> str | None:
    """Why a checkpoint cannot be resumed, which is said; None: it can be."""
    try:
        for file in _files_of(path):
            require_file(file, 'checkpoint', 'It is passed over')
            check_zip(file, 'checkpoint', 'It is passed over')
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        say(reason)
        return reason
    return None


def _files_of(path: Path) -> list[Path]:
    """A checkpoint, or what a sharded one (FSDP, DeepSpeed) consists of."""
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob('*') if p.suffix in ('.pth', '.pt'))
    if not files:
        raise ValueError(f'checkpoint {path} is a folder without weights. It is passed over.')
    return files


def _iterations(path: Path) -> int:
    """The iteration of a whole checkpoint; -1 if it does not say."""
    try:
        # nothing is kept of its tensors
        return int(load_plain(str(_files_of(path)[0]), map_location='meta')['meta']['iter'])
    except Exception:  # whatever torch raises of a file that is something else
        return -1


def _given_load_from(runner: Runner) -> str | None:
    """``load_from`` of the config's file and the command line.

    mmdet's ``train.py`` takes it out of the config when it is called with ``--resume``.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    given: dict[str, Any] = parser.parse_known_args(sys.argv[1:])[0].cfg_options
    file = runner.cfg.filename
    if 'load_from' not in given and file and os.path.isfile(file):
        given = Config.fromfile(file, import_custom_modules=False)
    return given.get('load_from')
