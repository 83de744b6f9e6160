# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zip archives and NumPy's files of arrays: read whole, compared with their checksums."""

from __future__ import annotations

import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .reading import CHUNK, PathLike, message, reason_of, require_file

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# An archive may unpack to so many bytes, and to so many times its own.
_UNPACKED = 1 << 30
_UNPACKED_TIMES = 50
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
    lzma.LZMAError,
)


@contextmanager
def naming_damage(path: PathLike, what: str = 'file', remedy: str = '') -> Iterator[None]:
    """Turn what reading a damaged zip archive (``.npz``) raises into one error with its name.

    Args:
        path: path of the file that is read inside.
        what: kind of file, for the message.
        remedy: what to do, for the message.

    Raises:
        ValueError: Instead of zipfile's, zlib's and numpy's errors.
        OSError: With the path in its message, if the file could not be read.
        MemoryError: Likewise.
    """
    file = f'{what} {os.fspath(path)}'
    try:
        yield
    except OSError as error:
        if os.fspath(path) in str(error):
            raise
        text = f'{file} could not be read: {reason_of(error)}'
        raise OSError(error.errno, message(text, remedy)) from error
    except MemoryError:
        raise MemoryError(message(f'{file} asks for more memory than there is', remedy)) from None
    except DAMAGED_ZIP as error:
        reason = f'{type(error).__name__}: {reason_of(error)}'
        text = f'{file} is damaged, or not what it should be ({reason})'
        raise ValueError(message(text, remedy or 'Create, copy or download it again')) from None


def read_npz(
    path: PathLike,
    what: str = 'file',
    remedy: str = '',
    names: tuple[str, ...] = (),
    content: bytes | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file, read whole and checked against its checksums; never objects.

    Args:
        path: path of a local file.
        what: kind of file, for messages.
        remedy: what to do, for messages.
        names: names of the arrays to read; by default all.
        content: the file's bytes, if they were read already; ``path`` only names them.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is damaged, not such an archive, or lacks an array.
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
                while chunk := content.read(CHUNK):
                    read += len(chunk)
            if read != member.file_size:
                raise zipfile.BadZipFile(f'{member.filename!r} is cut off')


def _check_unpacked(archive: zipfile.ZipFile, packed: int) -> None:
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _UNPACKED + _UNPACKED_TIMES * packed:
        raise zipfile.BadZipFile(f'it would unpack to {unpacked} bytes')
