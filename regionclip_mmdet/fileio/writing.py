# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files written whole or not at all; errors of writing that name the file and what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .reading import PathLike, message, reason_of

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # a module, where there is one

UNFINISHED = '.being-written'
# What torch and safetensors say, without an errno, of a file that could not be written.
_NOT_WRITTEN = re.compile(
    r'unexpected pos \d+ vs \d+|PytorchStreamWriter failed|[Nn]o space left|[Oo]s error (\d+)'
)
# What torch says, without a MemoryError.
_NO_MEMORY = re.compile(r'not enough memory|[Cc]an.?t allocate memory|std::bad_alloc')


@contextmanager
def write_whole(path: PathLike, remedy: str = '', suffix: str | None = None) -> Iterator[Path]:
    """Have a file written whole or not at all.

    What is written to the path that is given goes to a temporary file in the same folder, is
    forced to the disk and takes its name in one step. If anything is raised, or the process is
    killed, what was there before stays as it was::

        with write_whole('words.json') as unfinished:
            unfinished.write_text('...')

    Args:
        path: path of the file; its folder is created, and a link to a file is followed.
        remedy: what to do if it cannot be written, for the message.
        suffix: end of the temporary file's name, for writers that go by it; by default the
            file's own. '' where others may look for files of that ending meanwhile.

    Yields:
        Where to write: an empty file whose name holds ``UNFINISHED``.

    Raises:
        OSError, MemoryError: See ``naming_write_errors``.
    """
    path = Path(os.path.realpath(path))
    temporary, handle = '', -1
    with naming_write_errors(path, remedy):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            handle, temporary = tempfile.mkstemp(
                dir=path.parent,
                prefix=f'{path.name[:200]}.',  # names have a longest length
                suffix=UNFINISHED + (path.suffix if suffix is None else suffix),
            )
            os.chmod(temporary, 0o666 & ~_umask())
            _lock(handle)
            yield Path(temporary)
            _sync(temporary)
            os.replace(temporary, path)
            temporary = ''
        finally:
            if handle >= 0:
                os.close(handle)
            if temporary:
                Path(temporary).unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def naming_write_errors(path: PathLike, remedy: str = '') -> Iterator[None]:
    """Turn what writing raises, of a full disk for example, into one error with the path.

    For what cannot go through ``write_whole``: a library that writes many files, or names its own.

    Args:
        path: path of the file or folder that is written inside.
        remedy: what to do if it cannot be written, for the message.

    Raises:
        OSError: It could not be written, with path, reason and remedy; also where a library says
            so in another way, as torch and safetensors do of a full disk.
        MemoryError: Likewise.
    """
    try:
        yield
    except Exception as error:
        named = _named(error, Path(path), remedy)
        if named is error:
            raise
        vars(named).update(says_where=True)
        raise named from error


def remove_unfinished(folder: PathLike, pattern: str = '*') -> list[Path]:
    """Remove temporary files of ``write_whole`` whose process is gone.

    Those that a living process, on whatever machine, is writing are locked and stay. So do all
    where the file system has no locks.

    Args:
        folder: folder to look in; not below it.
        pattern: pattern of the names of the files that were to be written.

    Returns:
        Paths of the removed files.
    """
    found = sorted(Path(folder).glob(f'{pattern}{UNFINISHED}*'))
    removed = [path for path in found if not _is_in_use(path)]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def write_text(path: PathLike, text: str, remedy: str = '') -> None:
    """Write a text file (UTF-8, lines end as they do in ``text``), whole or not at all."""
    with write_whole(path, remedy, suffix='') as unfinished:
        unfinished.write_bytes(text.encode('utf-8'))


def write_json(path: PathLike, content: Any, indent: int | None = None, remedy: str = '') -> None:
    """Write a JSON file, whole or not at all; text is kept as it is (UTF-8)."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent), remedy)


def _named(error: Exception, path: Path, remedy: str) -> Exception:
    """An error of writing with the path in its message; other errors as they are."""
    if getattr(error, 'says_where', False):
        return error
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        text = f'{path} could not be written: out of memory. What was there before is as it was'
        return MemoryError(message(text, remedy or 'Free some memory'))
    remedy = remedy or 'Free some space, or name another place'
    if isinstance(error, OSError):
        if not _is_about(error, path):
            return error
        number, reason = error.errno, reason_of(error)
    else:
        found = _NOT_WRITTEN.search(str(error))
        if found is None:
            return error
        number = int(found[1]) if found[1] else errno.ENOSPC
        reason = os.strerror(number) if found[1] else f'{os.strerror(number)} ({found[0]})'
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f'Make {path.parent} writable, or name another place'
    return OSError(number, message(f'{path} could not be written: {reason}', remedy))


def _is_about(error: OSError, path: Path) -> bool:
    """Whether an error is about a file, its temporary one, its folder or what is in it."""
    if not isinstance(error.filename, str | bytes):
        return True
    other = Path(os.fsdecode(error.filename))
    return (
        other in path.parents
        or path in other.parents
        # temporary files, too, begin like the file
        or (other.parent == path.parent and other.name.startswith(path.name[:200]))
    )


def _lock(handle: int) -> bool:
    """Lock a file for as long as the handle is open; False where that cannot be done."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def _is_in_use(path: Path) -> bool:
    try:
        # network file systems lock only what may be written
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync(path: PathLike) -> None:
    """Force a file, or a folder's entries, to the disk, where the system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
    finally:
        os.close(handle)
