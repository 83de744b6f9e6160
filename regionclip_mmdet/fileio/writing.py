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

from .messages import PathLike, message, reason_of

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

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
        path: The file; its folder is made. A link to a file is followed.
        remedy: What to do if it cannot be written, for the message.
        suffix: End of the temporary file's name, for writers that go by it; by default the
            file's own. '' where others may look for files of that ending meanwhile.

    Yields:
        Where to write: an empty file whose name holds ``UNFINISHED``.

    Raises:
        OSError: It could not be written, with path, reason and remedy; also where a library says
            so in another way, as torch and safetensors do of a full disk.
        MemoryError: Likewise.
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
            _mark_as_in_use(handle)
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
        path: What is written inside: a file or a folder.
        remedy: What to do if it cannot be written, for the message.

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
        named.says_where = True
        raise named from error


def remove_unfinished(folder: PathLike, pattern: str = '*') -> list[Path]:
    """Remove temporary files of ``write_whole`` whose process is gone.

    Those that a living process, on whatever machine, is writing are locked and stay. So do all
    where the file system has no locks.

    Args:
        folder: Where to look; not below it.
        pattern: Of the names of the files that were to be written.

    Returns:
        What was removed.
    """
    removed = []
    for path in sorted(Path(folder).glob(f'{pattern}{UNFINISHED}*')):
        if _is_in_use(path):
            continue
        path.unlink(missing_ok=True)
        removed.append(path)
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
    """Whether an error is about a file, its temporary one, its folder or what lies in it."""
    if not isinstance(error.filename, str | bytes):
        return True
    other = Path(os.fsdecode(error.filename))
    return (
        other in path.parents
        or path in other.parents
        # temporary files, too, begin like the file
        or (other.parent == path.parent and other.name.startswith(path.name[:200]))
    )


def _mark_as_in_use(handle: int) -> None:
    """Lock a file for as long as the handle is open, where the system can."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a file system without locks
            pass


def _is_in_use(path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        # network file systems lock only what may be written
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


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
