# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Members of tar archives, damaged ones included.

Python's ``tarfile`` ends at the first odd header, or never (negative sizes). Here a member that
cannot be used is one with a reason, and reading goes on behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .tar_headers import (
    BLOCK,
    MAGIC,
    MAGIC_PLACE,
    Header,
    more_sparse,
    parse_header,
    parse_pax,
    parse_size,
)

# Extension headers (long names, pax) that are longer, and longer names, are no sensible ones.
_LONGEST_EXTENSION = 1 << 20
_LONGEST_NAME = 4096
_CHUNK = 1 << 20
# An archive ends in two blocks of zeros, filled up to a record of 20 blocks by most programs.
_END = 2 * BLOCK
_RECORD = 20 * BLOCK
_SHOWN = 3
_REGULAR = b'0\x007'
_WITHOUT_DATA = b'123456'
_SPARSE = {b'GNU.sparse.major', b'GNU.sparse.map', b'GNU.sparse.size', b'GNU.sparse.name'}
_MEANT = {b'path', b'linkpath', b'size', *_SPARSE}


class Member(NamedTuple):
    """A member that is no folder.

    Attributes:
        name: Path in the archive; bytes that are not UTF-8 are shown in hexadecimal.
        offset: Offset of its content in bytes.
        length: Length of its content in bytes.
        link: What it is a link to: a path in the archive, relative to its own folder if
            ``symbolic``; '' if it is none.
        symbolic: Whether it is a symbolic link.
        problem: Why its content cannot be used, as 'is a sparse file'; '' if it can.
        doubtful: Whether the problem is its name, so that nothing tells what it belongs to.
    """

    name: str
    offset: int
    length: int
    link: str = ''
    symbolic: bool = False
    problem: str = ''
    doubtful: bool = False


class TarMembers:
    """Iterates over the members of an uncompressed tar archive, once.

    Reads headers only. Archives that were joined (``cat a.tar b.tar``) are read to the end. Where
    no header is, the next one is looked for, so that a damaged part costs only what lies in it.

    Args:
        file: The archive.

    Attributes:
        damage: What is wrong with it as a whole, known after the last member.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._handle = file.fileno()
        self._size = os.fstat(self._handle).st_size
        self._damage: list[str] = []
        self._archive = 0  # where the archive begins, if several were joined
        self._last = ''
        self._common: dict[bytes, bytes] = {}
        self._next: dict[bytes, bytes] = {}
        self._problem = ''

    @property
    def damage(self) -> str:
        """'' if nothing is."""
        more = len(self._damage) - _SHOWN
        return '; '.join(self._damage[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')

    def __iter__(self) -> Iterator[Member]:
        position: int | None = 0
        waiting: Member | None = None  # whether it is whole is known when the next header is there
        while position is not None:
            block = self._read(position, BLOCK)
            header = parse_header(block)
            if header is None:
                zeros = bool(block) and not block.strip(b'\0')
                first = position if zeros or waiting is None else waiting.offset
                position = self._look_on(position, first, zeros)
                if waiting and position and position < waiting.offset + waiting.length:
                    waiting = waiting._replace(problem='is cut off: another file begins in it')
                # a damaged header leaves its problem to the next member
                self._next = {}
            if waiting is not None:
                yield waiting
                waiting = None
            if header is None:
                continue
            begin = position + BLOCK
            if header.kind in b'LKxXg':
                position = self._extend(header, begin)
                continue
            member, begin = self._member(header, begin)
            length = 0 if header.kind in _WITHOUT_DATA else member.length
            if begin + length > self._size:
                position = self._find(begin)
                self._damage.append(f'truncated in {member.name}')
                if position is None:
                    return
                waiting = member._replace(problem='is cut off, or its size is wrong')
            else:
                position = begin + _filled(length)
                waiting = None if member.name.endswith('/') or header.kind == b'5' else member
            self._last = member.name

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._handle, length, offset)

    def _where(self, what: str) -> str:
        return f'{what} after {self._last}' if self._last else f'{what} at its beginning'

    def _forget(self) -> None:
        self._next, self._problem = {}, ''

    def _extend(self, header: Header, begin: int) -> int:
        """Keep what an extension header says of the next member; where reading goes on."""
        length = header.size
        if length is None or not 0 <= length <= min(_LONGEST_EXTENSION, self._size - begin):
            self._problem = f'has a header whose length ({length}) cannot be'
            return begin
        content = self._read(begin, length)
        if header.kind in b'LK':
            self._next[b'path' if header.kind == b'L' else b'linkpath'] = content.rstrip(b'\0')
        else:
            try:
                records = parse_pax(content)
            except ValueError as error:
                self._problem = f'has a damaged pax header ({error})'
            else:
                # others are for unpacking; thousands of them would be copied for each member
                records = {key: value for key, value in records.items() if key in _MEANT}
                (self._common if header.kind == b'g' else self._next).update(records)
        return begin + _filled(length)

    def _member(self, header: Header, begin: int) -> tuple[Member, int]:
        """A member, and where its content begins."""
        given = {**self._common, **self._next}
        problem = before = self._problem
        self._forget()
        size = header.size
        if b'size' in given:
            size = parse_size(given[b'size'])
        if size is None or size < 0:
            problem = problem or 'has a size that is no number, or negative'
            size = 0
        raw = given.get(b'GNU.sparse.name', given.get(b'path', header.name))
        name, wrong = _text(raw)
        link, _ = _text(given.get(b'linkpath', header.link))
        name = name or '(a member without a name)'
        problem = problem or wrong
        doubtful = bool(before or wrong)
        if header.kind == b'S' or not given.keys().isdisjoint(_SPARSE):
            problem = problem or 'is a sparse file, which is not read'
            if header.kind == b'S':
                begin = self._behind_sparse(begin, header.sparse_goes_on)
        elif header.kind in b'12':
            problem = problem or ('' if link else 'is a link to nothing')
        elif header.kind not in _REGULAR:
            problem = problem or f'is no file but of the type {header.kind!r}'
        link = link if header.kind in b'12' else ''
        return Member(name, begin, size, link, header.kind == b'2', problem, doubtful), begin

    def _behind_sparse(self, begin: int, more: bool) -> int:
        while more and begin < self._size:
            more = more_sparse(self._read(begin, BLOCK))
            begin += BLOCK
        return begin

    def _look_on(self, position: int, first: int, zeros: bool) -> int | None:
        """Where the next header is, if not here; notes what is wrong with that."""
        if not zeros:
            found = self._find(first)
            if found is None and not self._last:
                what = 'no tar archive, or a compressed one' if self._size else 'it is empty'
                self._damage.append(what)
            elif found is None:
                self._damage.append(self._where('breaks off'))
            else:
                self._damage.append(f'{self._where("no header")}: read on at byte {found}')
            return found
        content = self._behind_zeros(position)
        if content is None:
            length = self._size - position
            if length > _END + _RECORD:
                self._damage.append(
                    f'{self._where(f"{length} bytes of zeros")}: was it written to its end?'
                )
            return None
        block = position + (content - position) // BLOCK * BLOCK
        found = block if parse_header(self._read(block, BLOCK)) else self._find(position)
        if found is None:
            self._damage.append(f'{self._size - content} bytes behind its end that are no files')
            return None
        gap = found - position
        joined = gap == _END or (
            _END <= gap <= _END + _RECORD and (found - self._archive) % _RECORD == 0
        )
        if found > max(block, content) or not joined:
            self._damage.append(f'{self._where(f"{gap} bytes that are no files")}, read on behind')
        self._archive = found
        return found

    def _behind_zeros(self, position: int) -> int | None:
        while chunk := self._read(position, _CHUNK):
            rest = len(chunk.lstrip(b'\0'))
            if rest:
                return position + len(chunk) - rest
            position += len(chunk)
        return None

    def _find(self, position: int) -> int | None:
        """Offset of the first header with the magic of tar at or behind ``position``."""
        # parts of an archive may be lost, so it need not begin at a whole number of blocks
        while True:
            chunk = self._read(position, _CHUNK)
            if len(chunk) < BLOCK:
                return None
            place = chunk.find(MAGIC, MAGIC_PLACE)
            while place >= 0:
                start = place - MAGIC_PLACE
                if start + BLOCK > len(chunk):
                    break
                if parse_header(chunk[start : start + BLOCK]) is not None:
                    return position + start
                place = chunk.find(MAGIC, place + 1)
            position += len(chunk) - BLOCK + 1


def _text(raw: bytes) -> tuple[str, str]:
    """A name, and what is wrong with it."""
    if not raw:
        return '', 'has no name'
    if len(raw) > _LONGEST_NAME:
        return raw[:100].decode(errors='backslashreplace') + '...', (
            f'has a name of {len(raw)} bytes'
        )
    try:
        return raw.decode(), ''
    except UnicodeDecodeError:
        return raw.decode(errors='backslashreplace'), 'has a name that is not UTF-8'


def _filled(length: int) -> int:
    """Bytes of whole blocks; the first one need not begin at a multiple of their size."""
    return length + -length % BLOCK
