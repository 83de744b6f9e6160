# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the arrays of a ``.npz`` file lie, so that pieces of them can be read."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from typing import BinaryIO, NamedTuple

import numpy as np

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
