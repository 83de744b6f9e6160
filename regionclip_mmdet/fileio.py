# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files: written whole or not at all; read with errors that name the file and what to do.

The one home of both. Nothing here knows tensors or needs torch.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import lzma
import math
import os
import re
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

PathLike = str | os.PathLike

UNFINISHED = '.being-written'
_CHUNK = 1 << 20
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# An archive may unpack to so many bytes, and to so many times its own.
_UNPACKED = 1 << 30
_UNPACKED_TIMES = 50
# What torch and safetensors say, without an errno, of a file that could not be written.
_NOT_WRITTEN = re.compile(
    r'unexpected pos \d+ vs \d+|PytorchStreamWriter failed|[Nn]o space left|[Oo]s error (\d+)'
)
# What torch says, without a MemoryError.
_NO_MEMORY = re.compile(r'not enough memory|[Cc]an.?t allocate memory|std::bad_alloc')
# What zipfile and numpy raise on damaged archives.
DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,  # an encrypted member
    SyntaxError,  # the header of an array
    tokenize.TokenError,  # likewise
    RecursionError,
    struct.error,
    lzma.LZMAError,
)


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


def require_file(path: PathLike, what: str = 'file', remedy: str = '') -> None:
    """Refuse a path at which no readable file is.

    Args:
        path: A local file.
        what: What it should be, for the message.
        remedy: What to do, for the message.

    Raises:
        FileNotFoundError: There is none, or a folder, or a link that leads nowhere.
        PermissionError: It may not be read.
    """
    remedy = remedy or 'Correct the path'
    if os.path.isfile(path):
        if not os.access(path, os.R_OK):
            raise PermissionError(
                errno.EACCES, f'{what} {os.fspath(path)} may not be read by this user. {remedy}'
            )
        return
    if os.path.isdir(path):
        there = 'is a folder, not a file'
    elif os.path.islink(path):
        there = f'is a link to {os.readlink(path)}, which does not exist'
    else:
        there = 'does not exist'
    raise FileNotFoundError(errno.ENOENT, f'{what} {os.fspath(path)} {there}. {remedy}')


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def parse_json(text: str | bytes, path: PathLike, what: str = 'file', remedy: str = '') -> Any:
    """Content of JSON (UTF-8, with or without a byte order mark).

    Args:
        text: The JSON.
        path: Where it comes from, for messages.
        what: What it should be, for messages.
        remedy: What to do, for messages.

    Raises:
        ValueError: Not JSON, not UTF-8, nested too deeply, or with numbers too long to read.
        MemoryError: Too large.
    """
    try:
        return json.loads(text.decode('utf-8-sig') if isinstance(text, bytes) else text)
    except RecursionError:
        reason = 'it is nested too deeply'
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, a number too long
        reason = str(error)
    except MemoryError:
        raise MemoryError(f'{what} {os.fspath(path)}: too large for the memory there is') from None
    raise ValueError(_message(f'{what} {os.fspath(path)} is no valid JSON: {reason}', remedy))


def read_json(path: PathLike, what: str = 'file', remedy: str = '') -> Any:
    """Content of a local JSON file; arguments and errors of ``require_file``, ``parse_json``."""
    require_file(path, what, remedy)
    return parse_json(Path(path).read_bytes(), path, what, remedy)


@contextmanager
def naming_damage(path: PathLike, what: str = 'file', remedy: str = '') -> Iterator[None]:
    """Turn what reading a damaged zip archive (``.npz``) raises into one error with its name.

    Args:
        path: The file that is read inside.
        what: What it should be, for the message.
        remedy: What to do, for the message.

    Raises:
        ValueError: Instead of zipfile's, zlib's and numpy's errors.
        OSError: With the path in its message, if the file could not be read.
        MemoryError: Likewise.
    """
    try:
        yield
    except OSError as error:
        if os.fspath(path) in str(error):
            raise
        raise OSError(
            error.errno,
            _message(f'{what} {os.fspath(path)} could not be read: {_reason(error)}', remedy),
        ) from error
    except MemoryError:
        raise MemoryError(
            _message(f'{what} {os.fspath(path)}: more is asked for than there is memory', remedy)
        ) from None
    except DAMAGED_ZIP as error:
        raise ValueError(
            _message(
                f'{what} {os.fspath(path)} is damaged, or not what it should be '
                f'({type(error).__name__}: {_reason(error)})',
                remedy or 'Make, copy or download it again',
            )
        ) from None


def read_npz(
    path: PathLike,
    what: str = 'file',
    remedy: str = '',
    names: tuple[str, ...] = (),
    content: bytes | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file, read whole and checked against its checksums; never objects.

    Args:
        path: A local file.
        what: What it should be, for messages.
        remedy: What to do, for messages.
        names: Of the arrays; by default all.
        content: The file's bytes, if they were read already; ``path`` only names them.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, no such archive, or lacks an array.
    """
    if content is None:
        require_file(path, what, remedy)
    source = path if content is None else io.BytesIO(content)
    with naming_damage(path, what, remedy), zipfile.ZipFile(source) as archive:
        _check_unpacked(archive, os.path.getsize(path) if content is None else len(content))
        names = names or tuple(name.removesuffix('.npy') for name in archive.namelist())
        return {name: _array(archive.read(f'{name}.npy'), name) for name in names}


def _array(content: bytes, name: str) -> np.ndarray:
    """An array of a member, whose checksum holds for the whole of it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version in _HEADERS:  # before memory is asked for
        shape, _, dtype = _HEADERS[version](file)
        if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError(f'{name} has another length than its shape {shape} says')
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def check_zip(path: PathLike, what: str = 'file', remedy: str = '') -> None:
    """Compare every member of a zip archive with its checksum.

    An archive whose checksums are all 0 was written without any, as torch can; of its members
    only the places and lengths are checked.

    Raises:
        ValueError: One differs, the archive is damaged, two members have one name, or it unpacks
            to far more than weights or arrays do; with the member's name.
    """
    with naming_damage(path, what, remedy), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = {member.filename.lower() for member in members}
        if len(names) < len(members):
            raise zipfile.BadZipFile('two of its members have one name')
        _check_unpacked(archive, os.path.getsize(path))
        unchecked = all(member.CRC == 0 for member in members)
        for member in members:
            if unchecked:
                del member.CRC  # what is not there is not compared
            read = 0
            with archive.open(member) as content:
                while chunk := content.read(_CHUNK):
                    read += len(chunk)
            if read != member.file_size:
                raise zipfile.BadZipFile(f'{member.filename!r} is cut off')


def _check_unpacked(archive: zipfile.ZipFile, packed: int) -> None:
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _UNPACKED + _UNPACKED_TIMES * packed:
        raise zipfile.BadZipFile(f'it would unpack to {unpacked} bytes')


def _named(error: Exception, path: Path, remedy: str) -> Exception:
    """An error of writing with the path in its message; other errors as they are."""
    if getattr(error, 'says_where', False):
        return error
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        text = f'{path} could not be written: out of memory. What was there before is as it was'
        return MemoryError(_message(text, remedy or 'Free some memory'))
    remedy = remedy or 'Free some space, or name another place'
    if isinstance(error, OSError):
        if not _is_about(error, path):
            return error
        number, reason = error.errno, _reason(error)
    else:
        found = _NOT_WRITTEN.search(str(error))
        if found is None:
            return error
        number = int(found[1]) if found[1] else errno.ENOSPC
        reason = os.strerror(number) if found[1] else f'{os.strerror(number)} ({found[0]})'
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f'Make {path.parent} writable, or name another place'
    return OSError(number, _message(f'{path} could not be written: {reason}', remedy))


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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return ' '.join(str(error).split())[:200]


def _message(text: str, remedy: str) -> str:
    return f'{text}. {remedy}'.rstrip('. ') + '.'


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
