# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Odd and damaged members of tar shards: each has its rule, the rest is read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextShards

END = bytes(1024)


def pair(number: int) -> bytes:
    """Blocks of a pair of two members: four of 512 bytes."""
    image, text, _ = made.pair(number)
    return made.member(*image) + made.member(*text)


def read(
    folder: Path, content: bytes | Iterable[made.MEMBER], **changes: Any
) -> tuple[list[int], dict[str, str]]:
    """Numbers of the pairs of a shard, by pixels and captions, and reasons of broken ones."""
    path = folder / 'a.tar'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        made.write_tar(path, content)
    options = dict(data_root=str(folder), max_broken_share=1.0, skip_broken=False)
    dataset = ImageTextShards('a.tar', **options, pipeline=[dict(type='LoadImageChecked')])
    numbers = [made.number_in(dataset[i]['img']) for i in range(len(dataset))]
    said = [dataset.get_data_info(i)['captions'] for i in range(len(dataset))]
    assert said == [[f'caption {number}'] for number in numbers]
    assert {shard for shard, _, _ in dataset.broken_pairs()} <= {str(path)}
    return numbers, {key: reason for _, key, reason in dataset.broken_pairs()}


class TestJoined:
    def archive(self, folder: Path, *numbers: int, **options: Any) -> bytes:
        path = folder / 'part.tar'
        with tarfile.open(path, 'w', **options) as archive:
            for name, content in (m for n in numbers for m in made.pair(n)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path.read_bytes()

    @pytest.mark.parametrize('style', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
    def test_both_are_read(self, tmp_path: Path, style: int) -> None:
        parts = [self.archive(tmp_path, n, n + 1, format=style) for n in (0, 2, 4)]
        assert read(tmp_path, b''.join(parts)) == ([0, 1, 2, 3, 4, 5], {})

    def test_two_blocks_of_zeros_are_an_end(self, tmp_path: Path) -> None:
        assert read(tmp_path, pair(0) + END + pair(1) + END) == ([0, 1], {})

    def test_without_the_magic_of_ustar(self, tmp_path: Path) -> None:
        """Headers of old programs: the checksum alone tells them."""
        old = pair(1)
        for start in (0, 1024):
            head = bytearray(old[start : start + 512])
            head[257:265] = bytes(8)
            head[148:156] = b' ' * 8
            head[148:156] = b'%06o\0 ' % sum(head)
            old = old[:start] + bytes(head) + old[start + 512 :]
        assert read(tmp_path, pair(0) + END + old + END) == ([0, 1], {})

    @pytest.mark.parametrize('zeros', [1, 3, 7])
    def test_other_zeros_are_told(self, tmp_path: Path, zeros: int) -> None:
        """Something may have been there."""
        numbers, broken = read(tmp_path, pair(0) + bytes(512 * zeros) + pair(1) + END)
        assert numbers == [0, 1]
        assert broken == {
            '': f'{512 * zeros} bytes that are no files after 000000000.txt, read on behind'
        }

    @pytest.mark.parametrize('cut', [100, 512 + 40, 1024 + 200, 1536 + 5, 1536 + 20])
    def test_the_first_one_broke_off(self, tmp_path: Path, cut: int) -> None:
        """The second one begins within the last member, and not at a block."""
        numbers, broken = read(tmp_path, pair(0) + pair(1)[:cut] + pair(2) + pair(3) + END)
        # at 1536 + 20 the text is whole: only what fills its block is missing
        assert numbers == ([0, 1, 2, 3] if cut == 1536 + 20 else [0, 2, 3])
        damage = broken.pop('')
        assert 'no header after 0000000' in damage and ';' not in damage
        lost = {
            100: {},
            552: {'000000001': 'image without .txt or .json'},
            1224: {'000000001': 'image without .txt or .json'},
            1541: {'000000001': 'its .txt is cut off: another file begins in it'},
        }
        assert broken == lost.get(cut, {})

    def test_garbage_behind_the_end_is_told(self, tmp_path: Path) -> None:
        numbers, broken = read(tmp_path, pair(0) + END + b'<html>' * 50)
        assert (numbers, broken) == ([0], {'': '300 bytes behind its end that are no files'})

    def test_zeros_at_the_end(self, tmp_path: Path) -> None:
        assert read(tmp_path, pair(0) + bytes(10240)) == ([0], {})
        numbers, broken = read(tmp_path, pair(0) + bytes(200_000))
        assert numbers == [0] and '200000 bytes of zeros after 000000000.txt' in broken['']


@pytest.mark.parametrize(
    ('size', 'reason'),
    [
        (b'-0000001000\0', 'has a size that is no number, or negative'),
        (b'\xff' * 10 + b'\xfc\0', 'has a size that is no number, or negative'),
        (b'12345678999\0', 'has a size that is no number, or negative'),
        (b'1_00\0'.ljust(12, b'\0'), 'has a size that is no number, or negative'),
        (b'77777777777\0', 'is cut off, or its size is wrong'),
        (b'\x80' + b'\xff' * 11, 'is cut off, or its size is wrong'),
        (b'\x80' + b'\0' * 6 + b'\x7f\xff\xff\xff\xff', 'is cut off, or its size is wrong'),
    ],
)
def test_sizes_that_cannot_be(tmp_path: Path, size: bytes, reason: str) -> None:
    odd = made.member('odd.png', made.image(9), size=size) + made.member('odd.txt', b'x')
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + END)
    assert numbers == [0, 1]
    assert broken.pop('') and broken == {'odd': f'its .png {reason}'}


def test_sizes_in_base_256(tmp_path: Path) -> None:
    content = made.image(1)
    odd = made.member('b.png', content, size=b'\x80' + len(content).to_bytes(11, 'big'))
    assert read(tmp_path, odd + made.member('b.txt', b'caption 1') + END) == ([1], {})


def test_a_size_that_takes_others_in(tmp_path: Path) -> None:
    odd = made.member('odd.png', made.image(9), size=1900)  # ends in the next pair
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + pair(2) + END)
    assert numbers == [0, 1, 2] and broken.pop('')
    assert broken == {'odd': 'image without .txt or .json'}


def pax(records: bytes, kind: bytes = b'x') -> bytes:
    return made.member('PaxHeaders/x', records, kind)


@pytest.mark.parametrize(
    ('records', 'reason'),
    [
        (b'99999 path=a.png\n', 'has a damaged pax header'),
        (b'0 path=a.png\n', 'has a damaged pax header'),
        (b'-14 path=a.png\n', 'has a damaged pax header'),
        (b'9' * 5000 + b' path=a.png\n', 'has a damaged pax header'),
        (b'x path=a.png\n', 'has a damaged pax header'),
        (b'12 nothing..\n', 'has a damaged pax header'),
        (b'10 size=x\n', 'has a size that is no number'),
        (b'11 size=-9\n', 'has a size that is no number'),
        (b'22 GNU.sparse.major=1\n', 'is a sparse file'),
    ],
)
def test_bad_pax_headers(tmp_path: Path, records: bytes, reason: str) -> None:
    odd = pax(records) + made.member('odd.png', made.image(9)) + made.member('odd.txt', b'x')
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + END)
    broken.pop('', '')  # where no content is behind a header
    assert numbers == [0, 1] and list(broken) == ['odd']
    assert f'its .png {reason}' in broken['odd']


@pytest.mark.parametrize('kind', [b'L', b'K', b'x', b'g'])
@pytest.mark.parametrize('size', [b'-0000000777\0', b'77777777777\0', b'00010000000\0'])
def test_extension_headers_of_impossible_length(tmp_path: Path, kind: bytes, size: bytes) -> None:
    odd = made.member('long', b'a.png', kind, size) + made.member('odd.png', made.image(9))
    odd += made.member('odd.txt', b'x')
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + END)
    assert numbers == [0, 1] and broken.pop('')
    assert 'its .png has a header whose length' in broken.pop('odd') and not broken


@pytest.mark.parametrize('kind', [b'L', b'K', b'x', b'g'])
def test_chains_of_extension_headers(tmp_path: Path, kind: bytes) -> None:
    """The last one counts; the length of the chain does not."""
    record = b'16 path=odd.png\n' if kind in b'xg' else b'odd.png\0'
    odd = made.member('chain', record, kind) * 3000
    odd += made.member('odd.png' if kind == b'K' else 'cut.png', made.image(9))
    numbers, broken = read(tmp_path, pair(0) + pair(1) + odd + END)
    assert numbers == [0, 1] and broken == {'odd': 'image without .txt or .json'}


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    odd = made.member(b'caf\xe9.png', made.image(9)) + made.member(b'caf\xe9.txt', b'x')
    odd += made.member('L', b'\xff' * 120 + b'.png\0', b'L') + made.member('x.png', made.image(8))
    long = made.member('L', b'n' * 5000 + b'.png\0', b'L') + made.member('x.png', made.image(8))
    numbers, broken = read(tmp_path, pair(0) + odd + long + pair(1) + END)
    assert numbers == [0, 1]
    assert broken == {
        'caf\\xe9': 'its .png has a name that is not UTF-8',
        '\\xff' * 120: 'image without .txt or .json',
        'n' * 100 + '...': 'a member that has a name of 5004 bytes',
    }


def test_sparse_files(tmp_path: Path) -> None:
    head = bytearray(made.block('odd.png', 512, b'S'))
    head[482] = 1  # another block of the map
    head[148:156] = b' ' * 8
    head[148:156] = b'%06o\0 ' % sum(head)
    odd = bytes(head) + bytes(504) + b'\x01' + bytes(7) + bytes(512) + b'x' * 512
    numbers, broken = read(tmp_path, pair(0) + odd + made.member('odd.txt', b'x') + pair(1) + END)
    assert numbers == [0, 1]
    assert broken == {'odd': 'its .png is a sparse file, which is not read'}


@pytest.mark.parametrize('kind', [b'3', b'6', b'M', b'Z'])
def test_what_is_no_file(tmp_path: Path, kind: bytes) -> None:
    odd = made.member('odd.png', b'', kind) + made.member('odd.txt', b'x')
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + END)
    assert (numbers, broken) == ([0, 1], {'odd': f'its .png is no file but of the type {kind!r}'})


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (b'[' * 100_000, 'text is no valid JSON'),
        (b'{"caption": ' * 5000 + b'1' + b'}' * 5000, 'text is no valid JSON'),
        (b'{"caption": ' + b'9' * 5000 + b'}', 'text is no valid JSON'),
        (b'{"caption": "\\ud800"}', 'caption with half a surrogate pair, which is no character'),
        (b'{"caption": "a\\u0000"}', 'caption with zero bytes'),
        (b'{"caption": ["a", {}]}', 'caption is no string but dict'),
        (b'\xff\xfe{\0', 'text is not UTF-8'),
    ],
    ids=['deep list', 'deep object', 'digits', 'surrogate', 'zeros', 'type', 'utf-16'],
)
def test_odd_json(tmp_path: Path, text: bytes, reason: str) -> None:
    odd = [('odd.png', made.image(9)), ('odd.json', text)]
    assert read(tmp_path, [*made.pair(0), *odd, *made.pair(1)]) == ([0, 1], {'odd': reason})


def test_texts_of_impossible_length(tmp_path: Path) -> None:
    odd = made.member('odd.png', made.image(9)) + made.member('odd.txt', b'x' * (2**24 + 1))
    numbers, broken = read(tmp_path, pair(0) + odd + pair(1) + END)
    assert (numbers, broken) == ([0, 1], {'odd': 'text of 16777217 bytes'})


class TestOtherMembers:
    def test_masks_beside_pairs(self, tmp_path: Path) -> None:
        """They belong to the pair, as WebDataset has it: the key ends at the first dot."""
        members = []
        for number in (0, 1):
            key = f'x.y/{number:09d}'
            members += [(f'x.y/{name}', content) for name, content in made.pair(number)]
            members += [(f'{key}.seg.png', b'mask'), (f'{key}.meta.json', b'{}')]
            members += [(f'{key}.a.json', b'{"b": 1}'), (f'{key}.a.png', b'mask')]
        assert read(tmp_path, members) == ([0, 1], {})

    def test_without_their_pair_they_are_missed(self, tmp_path: Path) -> None:
        members = [*made.pair(0), ('a.seg.png', b'x'), ('b.1.png', b'x'), ('b.txt', b'x')]
        assert read(tmp_path, members) == (
            [0],
            {'a.seg': 'image without .txt or .json', 'b': 'text without an image'},
        )

    def test_keys_with_dots_are_pairs(self, tmp_path: Path) -> None:
        pairs = [(f'a.{n}.{suffix.split(".")[1]}', c) for n in (1, 2) for suffix, c in made.pair(n)]
        assert read(tmp_path, pairs) == ([1, 2], {})

    def test_what_macos_and_pax_leave_behind(self, tmp_path: Path) -> None:
        members = []
        for number in (0, 1):
            for name, content in made.pair(number):
                beside = (b'\0\5\x16\7' + bytes(60),)
                members += [(f'._{name}', *beside), (f'__MACOSX/._{name}', *beside)]
                members += [(f'd/PaxHeaders.77/{name}', b'30 mtime=1\n'), (name, content)]
        assert read(tmp_path, members) == ([0, 1], {})

    @pytest.mark.parametrize('suffix', ['.gif', '.avif', '.HEIC', '.tiff', '.bmp'])
    def test_other_kinds_of_images(self, tmp_path: Path, suffix: str) -> None:
        odd = [(f'odd{suffix}', b'x'), ('odd.txt', b'x'), (f'000000000{suffix}', b'x')]
        numbers, broken = read(tmp_path, [*made.pair(0), *odd])
        assert numbers == [0] and list(broken) == ['odd']
        assert f'of a kind that is not read ({suffix.lower()}): convert it' in broken['odd']

    def test_links(self, tmp_path: Path) -> None:
        def link(name: str, target: str, kind: bytes = b'1') -> bytes:
            return made.block(name, 0, kind, target.encode())

        members = [
            made.member('./blobs/x', made.image(3)),
            made.member('./t/3.txt', b'caption 3'),
            link('./t/3.png', './blobs/x'),
            link('d/4.png', '../t/3.png', b'2'),  # a link to a link
            link('d/4.txt', '../t/3.txt', b'2'),
            link('5.png', 'elsewhere.png'),
            made.member('5.txt', b'x'),
            link('6.png', '6.png', b'2'),
            made.member('6.txt', b'x'),
            link('7.png', '/etc/passwd', b'2'),
            made.member('7.txt', b'x'),
        ]
        assert read(tmp_path, b''.join(members) + END) == (
            [3, 3],
            {
                '5': 'its .png is a link to elsewhere.png, which is not in this shard',
                '6': 'its .png is a link that leads to itself',
                '7': 'its .png is a link to /etc/passwd, which is not in this shard',
            },
        )

    def test_a_whole_one_after_a_damaged_one_of_its_name(self, tmp_path: Path) -> None:
        bad = made.member('000000001.png', made.image(9), size=b'-0000000001\0')
        numbers, broken = read(tmp_path, pair(0) + bad + pair(1) + END)
        assert numbers == [0, 1] and broken.pop('')
        assert broken == {'000000001.png again': 'the last one is used'}
