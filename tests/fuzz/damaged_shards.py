# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Sound shards, TSV files and archives of arrays with a few things wrong, by a seed."""

from __future__ import annotations

import base64

import numpy as np

from helpers import generated_shards as made

ODD_SIZES = (
    *(b'-0000000001\0', b'-7777777777\0', b'77777777777\0', b'00000000000\0', b'99999999999\0'),
    *(b'\xff' * 12, b'\x80' + b'\xff' * 11, b'\x80' + bytes(11), b'\xff' * 8 + bytes(4), bytes(12)),
    *(b'0x000000010\0', b'1_0'.ljust(12, b'\0'), b' 12 '.ljust(12), '²'.encode().ljust(12, b'\0')),
)
ODD_KINDS = tuple(bytes([kind]) for kind in b'012345678LKxXgSVMDNA\0\xff')
ODD_RECORDS = (
    *(b'0 path=x\n', b'-5 path=x\n', b'99999999999 path=x\n', b'12 path=a\xff\n', b'9' * 6000),
    *(b'11 size=-1\n', b'19 size=9999999999\n', b'10 size=x\n', b'22 GNU.sparse.major=1\n'),
    *(
        b'9 path=a\0',
        b'',
        b'\n' * 50,
        b'12 path=b\0c\n',
        b'8 =aaaa\n',
        b'25 GNU.sparse.size=abcde\n',
    ),
)
ODD_TEXTS = (
    *(
        b'[' * 90_000,
        b'{"caption":' * 4000,
        b'{"caption": "\\ud800"}',
        b'{"caption": ' + b'1' * 5000,
    ),
    *(
        b'\xff\xfea\0',
        b'',
        b'null',
        b'{"caption": [[]]}',
        b'"x"',
        b'\0' * 40,
        b'{"caption": 1e999}',
    ),
)


class Shard:
    """Blocks of an archive, and which of its pairs they belong to.

    Attributes:
        blocks: Bytes, and the number of the pair; None if to none.
        damaged: Numbers of the pairs that need not be read any more.
        looks_whole: Whether members are missing of which nothing tells.
    """

    def __init__(self, numbers: range) -> None:
        self.blocks: list[tuple[bytes, int | None]] = []
        self.damaged: set[int] = set()
        self.looks_whole = False
        for number in numbers:
            for name, content in made.pair(number)[:2]:
                self.blocks.append((made.block(name, len(content)), number))
                filled = content + bytes(-len(content) % 512)
                cut = range(0, len(filled), 512)
                self.blocks += [(filled[start : start + 512], number) for start in cut]
        self.blocks.append((bytes(1024), None))

    def content(self) -> bytes:
        return b''.join(block for block, _ in self.blocks)

    def headers(self) -> list[int]:
        """Places of blocks that are headers of members of pairs."""
        return [
            place
            for place, (block, number) in enumerate(self.blocks)
            if number is not None and block[257:262] == b'ustar'
        ]

    def spoil(self, first: int, last: int | None = None) -> None:
        """Count the pairs of these blocks as damaged."""
        numbers = {number for _, number in self.blocks[first : last or first + 1]}
        self.damaged |= numbers - {None}

    def next_pair(self, place: int) -> None:
        """Count the pair that comes behind as damaged, too."""
        own = self.blocks[place][1]
        after = [n for _, n in self.blocks[place:] if n is not None and n != own]
        self.damaged |= set(after[:1])


def damage_tar(rng: np.random.Generator, shard: Shard, alone: bool) -> None:
    """One thing wrong with a shard; ``alone`` if nothing else will be."""
    kind = int(rng.integers(12))
    place = int(rng.integers(len(shard.blocks)))
    block, number = shard.blocks[place]
    if kind == 0:  # bytes, anywhere
        changed = bytearray(block)
        for _ in range(int(rng.integers(1, 4))):
            changed[rng.integers(len(block))] ^= int(rng.integers(1, 256))
        shard.spoil(place)
        shard.blocks[place] = (bytes(changed), number)
    elif kind == 1:  # the end is missing
        shard.spoil(place, len(shard.blocks))
        shard.blocks[place:] = [(block[: rng.integers(len(block))], None)]
    elif kind == 2:  # something is missing, seldom whole blocks
        last = min(place + int(rng.integers(1, 5)), len(shard.blocks))
        shard.spoil(place, last)
        shard.looks_whole = True  # maybe what is left fits together
        if rng.random() < 0.5 and last < len(shard.blocks):
            shard.spoil(last)
            rest, owner = shard.blocks[last]
            shard.blocks[last] = (rest[rng.integers(1, len(rest)) :], owner)
        del shard.blocks[place:last]
        if place:  # a member whose end is missing takes in what comes next
            shard.spoil(place - 1)
    elif kind == 3:  # bytes that are too many
        shard.blocks.insert(place, (rng.bytes(int(rng.integers(1, 1500))), None))
        shard.spoil(max(place - 1, 0))
        if block[257:262] != b'ustar':
            shard.spoil(place + 1)
    elif kind == 4:  # zeros
        last = min(place + int(rng.integers(1, 9)), len(shard.blocks))
        shard.spoil(place, last)
        shard.blocks[place:last] = [(bytes(512 * (last - place)), None)]
        # as if it had ended there, or another shard began behind
        before = sum(len(block) for block, _ in shard.blocks[: place + 1])
        shard.looks_whole |= not any(block.strip(b'\0') for block, _ in shard.blocks[place:])
        shard.looks_whole |= last == place + 2 or before % 10240 == 0
    else:
        headers = shard.headers()
        if not headers:
            return
        place = headers[rng.integers(len(headers))]
        block, number = shard.blocks[place]
        if kind == 5 or (kind == 6 and not alone):
            shard.spoil(place)
            odd = ODD_SIZES[rng.integers(len(ODD_SIZES))]
            shard.blocks[place] = (_patched(block, 124, odd), number)
        elif kind == 6:  # a size that ends within another member
            shard.spoil(place)
            size = int(rng.integers(0, 4000)) // 512 * 512 + 1
            end = place + 1 + -(-size // 512)
            after = b''.join(block for block, _ in shard.blocks[place:])[512 * (end - place) :]
            if after[257:262] == b'ustar' or (after and not after.strip(b'\0')):
                shard.spoil(place, end)  # a shard as it may be, that has fewer members
            shard.blocks[place] = (_patched(block, 124, b'%011o\0' % size), number)
        elif kind == 7:
            shard.spoil(place)
            kind_byte = ODD_KINDS[rng.integers(len(ODD_KINDS))]
            if kind_byte in b'LKxXg':
                shard.next_pair(place)
            shard.blocks[place] = (_patched(block, 156, kind_byte), number)
        elif kind == 8:
            shard.spoil(place)
            name = rng.bytes(int(rng.integers(0, 90))).replace(b'\0', b'x')
            shard.blocks[place] = (_patched(block, 0, (name + b'.png').ljust(100, b'\0')), number)
        elif kind == 9:  # extension headers
            shard.spoil(place)
            record = ODD_RECORDS[rng.integers(len(ODD_RECORDS))]
            of_kind = (b'x', b'L', b'K', b'X')[rng.integers(4)]
            odd = made.member('x', record, of_kind) * int(rng.choice([1, 2, 400]))
            shard.blocks.insert(place, (odd, None))
        elif kind == 10:
            text = ODD_TEXTS[rng.integers(len(ODD_TEXTS))]
            odd = made.member('odd.png', made.image(1)) + made.member('odd.json', text)
            shard.blocks.insert(place, (odd, None))
        else:
            shard.blocks.insert(place, (made.member('odd.png', b'', b'S', 512), None))


def _patched(block: bytes, place: int, content: bytes) -> bytes:
    """A header with a field changed and the right checksum."""
    block = block[:place] + content + block[place + len(content) :]
    block = block[:148] + b' ' * 8 + block[156:]
    return block[:148] + b'%06o\0 ' % sum(block) + block[156:]


def tsv_rows(numbers: range) -> tuple[list[bytes], list[bytes]]:
    """Rows of images and of texts."""
    images = [b'k%d\t%s\n' % (n, base64.b64encode(made.image(n))) for n in numbers]
    return images, [b'k%d\tcaption %d\n' % (n, n) for n in numbers]


def damage_rows(rng: np.random.Generator, rows: list[bytes]) -> set[int]:
    """One thing wrong with rows; numbers of those that need not be read any more."""
    row = int(rng.integers(len(rows)))
    line = rows[row]
    place = int(rng.integers(len(line)))
    kind = int(rng.integers(7))
    if kind == 0:
        rows[row] = line[:place] + rng.bytes(1) + line[place + 1 :]
    elif kind == 1:
        rows[row] = line[:place] + b'\n'
    elif kind == 2:
        rows[row] = line[:place] + rng.bytes(int(rng.integers(1, 9))) + line[place:]
    elif kind == 3:
        rows[row] = b'\n'
    elif kind == 4:
        rows[row:] = [line[:place]]
        return set(range(row, 100))
    elif kind == 5:
        rows[row] = line[:-1]  # two lines become one
        return {row, row + 1}
    else:
        rows[row] = line.replace(b'\t', b' ', 1)
    return {row}


def damage_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """One thing wrong with any file."""
    place = int(rng.integers(len(content)))
    kind = int(rng.integers(6))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + rng.bytes(int(rng.integers(1, 20))) + content[place:]
    if kind == 2:
        return content[:place] + bytes(40) + content[place + 40 :]
    if kind == 3:
        return content[:place] + content[place + int(rng.integers(1, 30)) :]
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)
