# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading pieces of many files, and of the arrays of ``.npz`` files."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO, NamedTuple

import numpy as np


class PieceReader:
    """Reads bytes at offsets; keeps the files open that were read last.

    Reading moves no file position, so processes forked from this one may use the same open files.

    Args:
        max_open: Number of files kept open.
    """

    def __init__(self, max_open: int = 64) -> None:
        self.max_open = max_open
        self._handles: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, offset: int, length: int) -> bytes:
        """A piece of a file.

        Raises:
            OSError: The file cannot be read, or ends before.
        """
        handle = self._handles.get(path)
        if handle is None:
            handle = os.open(path, os.O_RDONLY | getattr(os, 'O_CLOEXEC', 0))
            self._handles[path] = handle
        else:
            self._handles.move_to_end(path)
        try:
            content = os.pread(handle, length, offset)
            while len(content) < length:  # one call gives 2 GiB at most
                more = os.pread(handle, length - len(content), offset + len(content))
                if not more:
                    raise OSError(
                        f'{path} ends before byte {offset + length}: it was changed after it was '
                        'indexed, or is being changed.'
                    )
                content += more
        finally:
            while len(self._handles) > self.max_open:
                os.close(self._handles.popitem(last=False)[1])
        return content

    def close(self) -> None:
        """Close all files."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {'max_open': self.max_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        if getattr(self, '_handles', None):
            self.close()


# A member begins with a header of its own: 30 bytes, the last four of which are the lengths of the
# name and of the extra field that follow it.
_HEADER = 30


class ArrayPlace(NamedTuple):
    """An array within a file: offset of its first byte, type and shape."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """Offset and length in bytes of the rows ``first`` to ``last``, the latter not included."""
        size = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        return self.offset + first * size, (last - first) * size


def array_places(path: str | os.PathLike) -> dict[str, ArrayPlace]:
    """Places of all arrays of a file that ``numpy.savez`` wrote, uncompressed.

    Checksums are those of whole arrays, so they are not compared here.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is compressed, not whole, or holds Python objects.
        Exception: It is damaged; ``fileio.naming_damage`` says so.
    """
    with open(path, 'rb') as file, zipfile.ZipFile(file) as archive:
        return {
            member.filename.removesuffix('.npy'): _place(file, member)
            for member in archive.infolist()
        }


def _place(file: BinaryIO, member: zipfile.ZipInfo) -> ArrayPlace:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError('its arrays are compressed; write it with numpy.savez')
    file.seek(member.header_offset)
    lengths = struct.unpack('<HH', file.read(_HEADER)[-4:])
    begin = member.header_offset + _HEADER + sum(lengths)
    file.seek(begin)
    if np.lib.format.read_magic(file) != (1, 0):  # only headers of 64 kB have another
        raise ValueError(f'{member.filename} has too long a header')
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    place = ArrayPlace(file.tell(), dtype, shape)
    end = place.offset + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError(f'{member.filename} is no plain array')
    if end != begin + member.file_size or min(shape, default=0) < 0:
        raise ValueError(f'{member.filename} is not whole')
    return place
