# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints that are whole or not there."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..ranks import failing_together
from .best_results import BestResults

BACKEND = 'atomic_local'
TEMPORARY_SUFFIX = '.being-written'


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend, which never leaves half a file under the final name.

    Bytes go to a temporary file in the same folder, are forced to the disk, and take the name in
    one step; a process killed, or a disk full, in between leaves the old file as it was.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file.

        Args:
            obj: Content.
            filepath: Where; folders are made.

        Raises:
            OSError: It could not be written, with the name of the file and what to do.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = ''
        try:
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=path.name, suffix=TEMPORARY_SUFFIX, delete=False
            ) as file:
                temporary = file.name
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f'{path} ({len(obj) / 2**20:.0f} MiB) could not be written: {error.strerror}. '
                'Files written before are whole. Free some space or name another work_dir, and '
                'continue with --resume',
            ) from error
        _sync_folder(path.parent)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file; see ``put``."""
        self.put(obj.encode(encoding), filepath)


register_backend(BACKEND, AtomicLocalBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(BestResults):
    """mmengine's ``CheckpointHook``; every checkpoint is whole, and there always is one.

    Files are written by ``AtomicLocalBackend``, unless another ``backend_args`` is given, and
    outdated checkpoints are removed only after the new one is there: mmengine removes them before,
    so that with ``max_keep_ckpts=1`` a crash while writing leaves none. Temporary files of a
    process that was killed are removed at the next start. If the main process cannot write, or a
    hook refuses the weights, all processes end with its error.

    Args:
        *args: As in mmengine.
        backend_args: File backend; by default the atomic local one.
        **kwargs: As in mmengine.
    """

    def __init__(self, *args: Any, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, backend_args=backend_args or dict(backend=BACKEND), **kwargs)
        self._together = False

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder; remove what killed processes left half-written."""
        super().before_train(runner)
        if runner.rank == 0 and isinstance(self.file_backend, LocalBackend):
            for leftover in Path(self.out_dir).glob(f'*{TEMPORARY_SUFFIX}'):
                runner.logger.warning(f'Removing {leftover}, which was never finished.')
                leftover.unlink()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        backend = self.file_backend
        self.file_backend = later = _RemovesLater(backend)
        try:
            with nullcontext() if self._together else failing_together():
                super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.file_backend = backend
        for remove in later.waiting:
            remove()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        self._together = True  # this may write two files, the processes meet once
        try:
            with failing_together():
                super()._save_best_checkpoint(runner, metrics)
        finally:
            self._together = False


class _RemovesLater:
    """A file backend whose removals wait."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.waiting: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.waiting.append(lambda: self._backend.remove(path))

    def rmtree(self, path: str) -> None:
        self.waiting.append(lambda: self._backend.rmtree(path))


def newest_whole_checkpoint(folder: str | Path) -> Path | None:
    """The latest checkpoint of a run that can be read to its end.

    Args:
        folder: The work dir, with ``iter_*.pth`` or ``epoch_*.pth``.

    Returns:
        None if there is none. Damaged ones are passed over.
    """
    found = [p for kind in ('iter', 'epoch') for p in Path(folder).glob(f'{kind}_*.pth')]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    # torch writes a zip archive, whose directory is at the end
    return next((path for path in found if zipfile.is_zipfile(path)), None)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
