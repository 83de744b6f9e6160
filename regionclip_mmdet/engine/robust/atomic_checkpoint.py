# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints that are whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.backends.registry_utils import prefix_to_backends
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...fileio import naming_write_errors, remove_unfinished, write_whole
from .best_results import BestResults
from .ranks import raise_on_all_ranks
from .work_dir_lock import WorkDirLock, check_holder, hold

BACKEND = 'atomic_local'
REMEDY = (
    'Files written before are whole. Free some space or name another work_dir, and continue with '
    '--resume'
)


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend, which never leaves half a file under the final name."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, whole or not at all.

        Args:
            obj: Content of the file.
            filepath: Path of the file; folders are created.

        Raises:
            OSError: It could not be written, with the name of the file and what to do.
            WorkDirInUseError: Another run has taken over the work dir.
        """
        check_holder(filepath)
        # no ending of a checkpoint's: others may look for those meanwhile
        with write_whole(filepath, REMEDY, suffix='') as unfinished:
            unfinished.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file; see ``put``."""
        self.put(obj.encode(encoding), filepath)


register_backend(BACKEND, AtomicLocalBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(BestResults):
    """mmengine's ``CheckpointHook``; every checkpoint is whole, and there always is one.

    Files are written by ``AtomicLocalBackend``, unless another ``backend_args`` is given, and
    outdated checkpoints are removed only after the new one is there: mmengine removes them before,
    so that with ``max_keep_ckpts=1`` a crash while writing leaves none. While a run trains, its
    work dir and the folder of its checkpoints are held (``WorkDirLock``): a second run there is
    refused. Temporary files of a process that was killed are removed at the next start. If the main
    process cannot write, or a hook refuses the weights, all processes end with its error.

    Args:
        *args: As in mmengine.
        backend_args: File backend; by default the atomic local one.
        **kwargs: As in mmengine.
    """

    file_backend: Any

    def __init__(self, *args: Any, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, backend_args=backend_args or dict(backend=BACKEND), **kwargs)
        self._together = False
        self._locks: list[WorkDirLock] = []

    def before_train(self, runner: Runner) -> None:
        """Take hold of the folders, prepare them, and remove what killed processes left.

        Raises:
            WorkDirInUseError: Another run trains there; on all processes.
        """
        self._hold(runner.work_dir, runner)
        super().before_train(runner)
        if not isinstance(self.file_backend, LocalBackend):
            return
        self._hold(self.out_dir, runner)
        if is_main_process():
            for leftover in remove_unfinished(self.out_dir, '*.pth*'):
                runner.logger.warning(f'Removed {leftover}, which was never finished.')

    def after_run(self, runner: Runner) -> None:
        super().after_run(runner)
        while self._locks:
            self._locks.pop().release()

    def _hold(self, folder: str, runner: Runner) -> None:
        with raise_on_all_ranks():
            lock = hold(folder, runner.logger.warning) if is_main_process() else None
        if lock is not None:
            self._locks.append(lock)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        backend = self.file_backend
        self.file_backend = later = _RemovesLater(backend)
        path = Path(self.out_dir) / self.filename_tmpl.format(step)
        try:
            with (
                nullcontext() if self._together else raise_on_all_ranks(),
                naming_write_errors(path, REMEDY),
                _atomic_by_default(),
            ):
                super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.file_backend = backend
        for remove in later.waiting:
            remove()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        self._together = True  # this may write two files, the processes meet once
        try:
            with raise_on_all_ranks(), naming_write_errors(self.out_dir, REMEDY):
                with _atomic_by_default():
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


@contextmanager
def _atomic_by_default() -> Iterator[None]:
    """Write local files whole where no backend is named: ``FlexibleRunner`` drops ours."""
    before = prefix_to_backends['']
    prefix_to_backends[''] = AtomicLocalBackend
    try:
        yield
    finally:
        prefix_to_backends[''] = before
