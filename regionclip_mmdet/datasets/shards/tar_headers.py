# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Headers of tar archives: ustar, pax, GNU and old ones."""

from __future__ import annotations

from typing import NamedTuple

BLOCK = 512
MAGIC, MAGIC_PLACE = b'ustar', 257
_CHECKSUM = slice(148, 156)
_BLANKS = 8 * ord(' ')  # stand in the checksum's place when it is computed
_LONGEST_NUMBER = 20  # digits


class Header(NamedTuple):
    """A header.

    Attributes:
        name: Path.
        size: Size of the content in bytes; None if it is no number.
        kind: Type, one byte.
        link: Target of a link.
        sparse_goes_on: Whether blocks with the map of a sparse file follow.
    """

    name: bytes
    size: int | None
    kind: bytes
    link: bytes
    sparse_goes_on: bool


def parse_header(block: bytes) -> Header | None:
    """What a block of 512 bytes says; None if it is no header or its checksum is wrong."""
    if len(block) < BLOCK:
        return None
    checksum = _number(block[_CHECKSUM])
    if not checksum:
        return None
    if checksum != sum(block) - sum(block[_CHECKSUM]) + _BLANKS and checksum != _signed(block):
        return None
    name = _text(block[:100])
    kind = block[156:157]
    if block[257:263] == b'ustar\0' and block[345]:
        name = _text(block[345:500]) + b'/' + name
    return Header(name, _number(block[124:136]), kind, _text(block[157:257]), bool(block[482]))


def parse_pax(content: bytes) -> dict[bytes, bytes]:
    """Records of a pax header, each a line with its length, a key and a value.

    Raises:
        ValueError: They are none.
    """
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(content) and content[place]:
        space = content.find(b' ', place, place + _LONGEST_NUMBER)
        length = parse_size(content[place : max(space, place)])
        if length is None:
            raise ValueError('a record without its length')
        end = place + length
        if not space < end - 1 < len(content) or content[end - 1 : end] != b'\n':
            raise ValueError('a record of another length than it says')
        key, equals, value = content[space + 1 : end - 1].partition(b'=')
        if not equals:
            raise ValueError('a record without a value')
        records[key] = value
        place = end
    return records


def parse_size(digits: bytes) -> int | None:
    """A number in decimal digits; None if it is none, or too large to be meant."""
    return int(digits) if digits.isdigit() and len(digits) < _LONGEST_NUMBER else None


def more_sparse(block: bytes) -> bool:
    """Whether another block with the map of a sparse file follows this one."""
    return len(block) == BLOCK and bool(block[504])


def _text(field: bytes) -> bytes:
    return field.partition(b'\0')[0]


def _number(field: bytes) -> int | None:
    """Octal digits, or a base-256 number, which may be negative; None if neither."""
    if field[0] & 0x80:
        value = int.from_bytes(field, 'big')
        bits = 8 * len(field)
        return value - (1 << bits) if field[0] & 0x40 else value - (1 << (bits - 1))
    digits = _text(field).strip(b' ')
    try:
        return int(digits or b'0', 8) if digits.isalnum() or not digits else None
    except ValueError:
        return None


def _signed(block: bytes) -> int:
    """Checksum as some old programs computed it, of signed bytes."""
    rest = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
    return sum(byte - 256 if byte > 127 else byte for byte in rest) + _BLANKS
