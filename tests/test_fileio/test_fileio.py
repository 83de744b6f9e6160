# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files are written whole or not at all, and errors name them."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from regionclip_mmdet import fileio


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / 'sub' / 'a.json'
    with fileio.write_whole(target) as unfinished:
        assert unfinished.parent == target.parent and unfinished.suffix == '.json'
        unfinished.write_text('new')
        assert not target.exists()
    assert target.read_text() == 'new'
    assert entries(target.parent) == ['a.json']
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize('raised', [KeyboardInterrupt, ValueError('no'), OSError('other')])
def test_what_was_there_stays_when_writing_fails(tmp_path: Path, raised: BaseException) -> None:
    target = tmp_path / 'a.txt'
    target.write_text('old')
    with pytest.raises(raised if isinstance(raised, type) else type(raised)):
        with fileio.write_whole(target) as unfinished:
            unfinished.write_text('half')
            raise raised
    assert target.read_text() == 'old'
    assert entries(tmp_path) == ['a.txt']


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / 'real').mkdir()
    link = tmp_path / 'link.txt'
    link.symlink_to(tmp_path / 'real' / 'a.txt')
    fileio.write_text(link, 'é\n')
    assert link.is_symlink() and (tmp_path / 'real' / 'a.txt').read_bytes() == 'é\n'.encode()


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        RuntimeError('[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0'),
        RuntimeError('Error while serializing: IoError(Os { code: 28 }) os error 28'),
    ],
)
def test_a_full_disk_is_named_whoever_meets_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match='could not be written: No space left') as caught:
        with fileio.write_whole(tmp_path / 'a.pth', remedy='Do this'):
            raise error
    assert caught.value.errno == errno.ENOSPC
    assert str(tmp_path / 'a.pth') in str(caught.value) and 'Do this' in str(caught.value)
    assert entries(tmp_path) == []


def test_a_folder_in_the_way_and_a_file_as_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    with pytest.raises(OSError, match=f'{tmp_path}/a could not be written: Is a directory'):
        fileio.write_text(tmp_path / 'a', '')
    (tmp_path / 'b').write_text('')
    with pytest.raises(OSError, match=f'{tmp_path}/b/c could not be written'):
        fileio.write_text(tmp_path / 'b' / 'c', '')


def test_memory_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(MemoryError, match='a.bin could not be written: out of memory'):
        with fileio.write_whole(tmp_path / 'a.bin'):
            raise MemoryError


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='words .*a.txt does not exist. Make it'):
        fileio.require_file(tmp_path / 'a.txt', 'words', 'Make it')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        fileio.require_file(tmp_path)
    (tmp_path / 'link').symlink_to('nowhere')
    with pytest.raises(FileNotFoundError, match='is a link to nowhere, which does not exist'):
        fileio.require_file(tmp_path / 'link')


@pytest.mark.parametrize(
    'content',
    [b'', b'{', b'\xff\xfe', b'[' * 100_000, b'[' + b'1' * 5000 + b']', b'{"a": nope}'],
    ids=['empty', 'cut', 'utf-16', 'deep', 'long number', 'word'],
)
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='annotations .*a.json is no valid JSON: .*Do this'):
        fileio.read_json(path, 'annotations', 'Do this')


def test_json_round_trip_with_byte_order_mark(tmp_path: Path) -> None:
    content = {'ü': [1, None, 'a']}
    fileio.write_json(tmp_path / 'a.json', content)
    assert fileio.read_json(tmp_path / 'a.json') == content
    (tmp_path / 'b.json').write_bytes(b'\xef\xbb\xbf' + json.dumps(content).encode())
    assert fileio.read_json(tmp_path / 'b.json') == content


def test_npz_with_any_bit_flipped_in_its_data(tmp_path: Path) -> None:
    path = tmp_path / 'a.npz'
    expected = np.arange(64, dtype=np.float32)
    np.savez(path, x=expected)
    np.testing.assert_array_equal(fileio.read_npz(path)['x'], expected)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo('x.npy').header_offset + 30 + len('x.npy') + 20 + 128
    whole = path.read_bytes()
    for place in range(start, start + 200, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=f'cache {path} is damaged'):
            fileio.read_npz(path, 'cache')
        with pytest.raises(ValueError, match=f'file {path} is damaged'):
            fileio.check_zip(path)


@pytest.mark.parametrize('content', [b'', b'PK', b'text', b'\x93NUMPY'])
def test_npz_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='a.npz is damaged'):
        fileio.read_npz(path)


def test_npz_of_objects_and_without_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / 'a.npz', x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match='a.npz is damaged, or not what it should be'):
        fileio.read_npz(tmp_path / 'a.npz')
    np.savez(tmp_path / 'b.npz', x=np.zeros(1))
    with pytest.raises(ValueError, match='b.npz.*KeyError.*y'):
        fileio.read_npz(tmp_path / 'b.npz', names=('y',))


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / 'a').write_bytes(b'abc')  # the example of FIPS 180-2
    assert fileio.sha256_of(tmp_path / 'a') == (
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )


def test_a_header_of_an_array_that_lies(tmp_path: Path) -> None:
    """Its checksum counts although only a part of the array is asked for."""
    path = tmp_path / 'a.npz'
    np.savez(path, x=np.zeros((200_000, 2)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'(200000, 2)', b'(100000, 2)', 1))
    with pytest.raises(ValueError, match='a.npz is damaged.*CRC'):
        fileio.read_npz(path)
    with pytest.raises(ValueError, match='a.npz is damaged.*CRC'):
        fileio.read_npz('a.npz', content=path.read_bytes())
    assert fileio.read_npz('elsewhere', content=content)['x'].shape == (200_000, 2)


def npz(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x.npy', content)
    return path


def test_npz_whose_array_has_another_length(tmp_path: Path) -> None:
    """numpy reads as much as the header says, and no checksum is compared before the end."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(100, dtype=np.float32))
    whole = buffer.getvalue()
    for shape in (b'(10,) ', b'(999,)', b'(4**9,)', b'(-1,) '):
        path = npz(tmp_path / 'a.npz', whole.replace(b'(100,)', shape))
        with pytest.raises(ValueError, match=r'a\.npz is damaged'):
            fileio.read_npz(path)
    path = npz(tmp_path / 'a.npz', whole.replace(b'(100,), ', b'(10**15,)'[:9].ljust(8)))
    with pytest.raises(ValueError, match=r'a\.npz is damaged'):
        fileio.read_npz(path)
    assert fileio.read_npz(npz(path, whole))['x'][99] == 99


def test_archives_without_checksums(tmp_path: Path) -> None:
    path = npz(tmp_path / 'a.npz', b'content' * 9)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        crc = archive.infolist()[0].CRC.to_bytes(4, 'little')
    path.write_bytes(whole.replace(crc, bytes(4)))
    fileio.check_zip(path)
    path.write_bytes(whole.replace(b'content', b'Content', 1))
    with pytest.raises(ValueError, match=r'a\.npz is damaged'):
        fileio.check_zip(path)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = npz(tmp_path / 'a.npz', b'x')
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('X.npy', b'y')
    with pytest.raises(ValueError, match='two of its members have one name'):
        fileio.check_zip(path)
