# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What ``torch.save`` and ``torch.jit.save`` write, checked before it is loaded."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Mapping
from functools import cached_property
from typing import IO, Any

import torch

from .. import inert
from ..fileio import PathLike, check_zip
from ..inert import Kept
from ..inert.values import StorageRef, check_tensors

AGAIN = 'Copy or download it again'
# of the format that torch wrote before 1.6, and with _use_new_zipfile_serialization=False
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_ZIP_START = b'PK\x03\x04'


class TorchArchive:
    """A zip archive of torch: one pickle, and a member for each storage.

    Every member has been compared with its checksum; an archive whose checksums are all 0 was
    written without any (``torch.serialization.set_crc32_options(False)``).

    Args:
        path: path of a local file.
        what: kind of file, for messages.

    Raises:
        ValueError: It is damaged.
    """

    def __init__(self, path: PathLike, what: str = 'checkpoint') -> None:
        check_zip(path, what, AGAIN)
        self._archive = zipfile.ZipFile(path)
        self._members = {member.filename: member for member in self._archive.infolist()}
        if all(member.CRC == 0 for member in self._members.values()):
            for member in self._members.values():
                del member.CRC  # what is not there is not compared
        # torch looks for everything below the folder of the first member
        self.top = next(iter(self._members), '').partition('/')[0]
        self._storages: dict[str, torch.UntypedStorage] = {}

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def read(self, name: str) -> bytes | None:
        """A member below the top folder; None if there is none."""
        member = self._members.get(f'{self.top}/{name}')
        return None if member is None else self._archive.read(member)

    @cached_property
    def pickles(self) -> dict[str, Any]:
        """What its pickles say, none of it executed, by name.

        Raises:
            ValueError: See ``inert.read``.
        """
        return {
            name: inert.read(io.BytesIO(self._archive.read(member)))
            for name, member in self._members.items()
            # however torch compares names, it finds none that was not read here
            if name.lower().endswith('data.pkl')
        }

    def content(self) -> Any:
        """What its pickle says; a ValueError if there is none, or as ``inert.read``."""
        name = f'{self.top}/data.pkl'
        if name not in self.pickles:
            raise ValueError('it is a zip archive, but has no data.pkl')
        return self.pickles[name]

    def size_of(self, storage: StorageRef) -> int:
        """Bytes of a storage.

        Raises:
            ValueError: It is not there, or of another size than the pickle says.
        """
        member = self._members.get(f'{self.top}/data/{storage.key}')
        if member is None:
            raise ValueError(f'the data of storage {storage.key!r} are missing')
        if member.file_size != storage.nbytes:
            raise ValueError(
                f'storage {storage.key!r} has {member.file_size} bytes, not the {storage.nbytes} '
                'that its pickle says'
            )
        return member.file_size

    def storage(self, storage: StorageRef) -> torch.UntypedStorage:
        """The bytes of a storage, read once, on the CPU."""
        if storage.key not in self._storages:
            if self.read('byteorder') not in (None, sys.byteorder.encode()):
                raise ValueError('its numbers are in the byte order of another machine')
            self.size_of(storage)
            data = bytearray(self.read(f'data/{storage.key}') or b'')
            self._storages[storage.key] = _untyped(data)
        return self._storages[storage.key]


def check_torch_file(path: PathLike, what: str = 'checkpoint') -> None:
    """Refuse a file of ``torch.save`` that is damaged or needs too much memory.

    Zip archives are compared with their checksums. The older format has none: that its parts are
    there, of the right length and nothing else, is all that can be known.

    Args:
        path: path of a local file.
        what: kind of file, for messages.

    Raises:
        ValueError: Damaged; too many values, too deeply nested, containing itself; a tensor
            reaches out of its data.
    """
    with open(path, 'rb') as file:  # as torch tells them apart
        zipped = file.read(len(_ZIP_START)) == _ZIP_START
    if zipped:
        with TorchArchive(path, what) as archive:
            archive.content()
            for content in archive.pickles.values():
                check_tensors(content, archive.size_of)
        return
    with open(path, 'rb') as file:
        content, storages = read_legacy(file)
    check_tensors(content, storages)


def read_legacy(file: IO[bytes], keep: bool = False) -> tuple[Any, Storages]:
    """What a file in torch's older format says, to its very end.

    Args:
        file: file that is open for reading, at its beginning.
        keep: whether to keep the data of storages.

    Returns:
        What its pickle says, none of it executed; its storages.

    Raises:
        ValueError: It is damaged, or not such a file.
    """
    magic = inert.read(file)
    if magic != _LEGACY_MAGIC or inert.read(file) != _LEGACY_VERSION:
        raise ValueError('it does not begin as files of torch do')
    inert.read(file)  # of the machine that wrote it
    content = inert.read(file)
    keys = inert.read(file)
    known: dict[Any, StorageRef] = {}
    for node in inert.nodes(content):
        if isinstance(node, Kept):
            storage = StorageRef.of(node)
            if known.setdefault(storage.key, storage).nbytes != storage.nbytes:
                raise ValueError(f'storage {storage.key!r} is described in two ways')
    if not isinstance(keys, list) or set(map(str, keys)) != known.keys():
        raise ValueError('its list of storages is another than that of its data')
    storages = Storages(known)
    for key in map(str, keys):
        elements = int.from_bytes(file.read(8), 'little')
        storage = known[key]
        if elements * storage.dtype.itemsize != storage.nbytes:
            raise ValueError(f'storage {key!r} has another length than its pickle says')
        start = file.tell()
        if keep:
            storages.data[key] = file.read(storage.nbytes)
        file.seek(0, os.SEEK_END)
        if file.tell() < start + storage.nbytes:
            raise ValueError('it ends too early')
        file.seek(start + storage.nbytes)
    if file.read(1):
        raise ValueError('something follows its end')
    return content, storages


class Storages:
    """Storages of a file in the older format.

    Attributes:
        known: their descriptions by key.
        data: their bytes by key, if kept.
    """

    def __init__(self, known: Mapping[Any, StorageRef]) -> None:
        self.known = known
        self.data: dict[str, bytes] = {}

    def __call__(self, storage: StorageRef) -> int:
        """Number of bytes of a storage."""
        return self.known[storage.key].nbytes

    def storage(self, storage: StorageRef) -> torch.UntypedStorage:
        """A storage that was kept."""
        return _untyped(bytearray(self.data[storage.key]))


def _untyped(data: bytearray) -> torch.UntypedStorage:
    if not data:
        return torch.UntypedStorage(0)
    return torch.frombuffer(data, dtype=torch.uint8).untyped_storage()
