# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions of every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.fileio import BaseStorageBackend, register_backend

from helpers.generated_shards import pair, write_shards, write_tar, write_tsv
from regionclip_mmdet.concepts import CaptionFiles
from regionclip_mmdet.datasets import ImageTextShards


def test_all_formats_one_after_another(tmp_path: Path) -> None:
    coco, lines, text = (tmp_path / f'c{suffix}' for suffix in ('.json', '.jsonl', '.txt'))
    coco.write_text(
        json.dumps(
            {
                'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}],
                'annotations': [
                    {'image_id': 2, 'caption': 'of two'},
                    {'image_id': 1, 'caption': ' of one '},
                    {'image_id': 1, 'caption': ' '},
                ],
            }
        )
    )
    lines.write_text(
        '{"image": "a.jpg", "caption": "a line"}\n'
        '{"image": "b.jpg", "captions": ["first", "", "second"]}\n'
        '{"image": "c.jpg", "caption": ""}\n'
    )
    text.write_bytes('\ufeffcafé\n\n a line \n \nlast'.encode())
    captions = CaptionFiles([coco, str(lines), text])
    expected = ['of one', 'of two', 'a line', 'first', 'second', 'café', 'a line', 'last']
    assert list(captions) == expected
    assert captions.num_left_out == 1 + 2 + 2
    assert list(captions) == expected  # again, from the beginning
    assert captions.num_left_out == 5


def test_shards_by_pattern(tmp_path: Path) -> None:
    write_shards(tmp_path, [2, 3])
    write_tar(tmp_path / '00002.tar', [*pair(5), ('000000006.png', b''), ('000000006.txt', b' ')])
    captions = CaptionFiles([f'{tmp_path}/{{00000..00002}}.tar'])
    assert list(captions) == [f'caption {number}' for number in range(6)]
    assert captions.num_left_out == 1
    write_tsv(tmp_path / 'tsv', 0, [0, 1], ['a caption', '{"captions": ["one", "two"]}'])
    both = CaptionFiles([tmp_path / 'tsv' / 'images_*.tsv', f'{tmp_path}/00000.tar'])
    assert list(both) == ['a caption', 'one', 'two', 'caption 0', 'caption 1']
    assert both.num_left_out == 0
    with pytest.raises(FileNotFoundError, match='1 of 3 shards do not exist'):
        CaptionFiles([f'{tmp_path}/{{00001..00003}}.tar'])


@pytest.mark.parametrize('processes', [1, 2])
def test_captions_of_another_key_and_indices_elsewhere(tmp_path: Path, processes: int) -> None:
    write_shards(tmp_path / 'tar', [2, 1])
    write_tsv(tmp_path / 'tsv', 0, [7], ['{"captions": ["x"], "alt": "seven"}'])
    files = [f'{tmp_path}/tar/*.tar', f'{tmp_path}/tsv/images_0.tsv']
    captions = CaptionFiles(files, 'alt', tmp_path / 'cache', processes=processes)
    expected = [f'{letter} {number}' for number in range(3) for letter in 'ab']
    assert list(captions) == [*expected, 'seven']
    assert len(list((tmp_path / 'cache').iterdir())) == 3
    assert not [*tmp_path.glob('tar/*.npz'), *tmp_path.glob('tsv/*.npz')]


def test_several_processes_make_every_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, [2, 1, 3])
    write_tar(tmp_path / '00003.tar', [])
    read = ImageTextShards._read_indices

    def checked(self: ImageTextShards) -> list:
        if len(self.shards) > 1:
            assert len(list(tmp_path.glob('*.npz'))) == 4
        return read(self)

    monkeypatch.setattr(ImageTextShards, '_read_indices', checked)
    captions = CaptionFiles([f'{tmp_path}/*.tar'], processes=3)
    assert list(captions) == [f'caption {number}' for number in range(6)]


class Elsewhere(BaseStorageBackend):
    """Files behind ``elsewhere://``."""

    def get(self, filepath: str) -> bytes:
        return Path(filepath.removeprefix('elsewhere://')).read_bytes()

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        return self.get(filepath).decode(encoding)


@pytest.mark.parametrize('processes', [1, 2])
def test_shards_that_are_not_local(tmp_path: Path, processes: int) -> None:
    register_backend('elsewhere', Elsewhere, force=True, prefixes='elsewhere')
    write_shards(tmp_path / 'far', [2, 1])
    path = f'elsewhere://{tmp_path}/far/{{00000..00001}}.tar'
    captions = CaptionFiles([path], copy_dir=tmp_path / 'copies', processes=processes)
    assert list(captions) == [f'caption {number}' for number in range(3)]
    assert len(list((tmp_path / 'copies').glob('*.tar'))) == 2
    with pytest.raises(ValueError, match=r'is not local.*copy_dir'):
        CaptionFiles([path])


def test_a_key_that_no_file_has_a_choice_of(tmp_path: Path) -> None:
    path = tmp_path / 'c.txt'
    path.write_text('a cat\n')
    with pytest.raises(ValueError, match="key 'alt': only shards .* have a choice of keys"):
        CaptionFiles([path], 'alt')


def test_refusals_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no caption file .*absent\.txt'):
        CaptionFiles([tmp_path / 'absent.txt'])
    with pytest.raises(ValueError, match=r'c\.csv: cannot tell the format; .*\.jsonl'):
        CaptionFiles(['c.csv'])
    path = tmp_path / 'c.txt'
    path.write_bytes(b'fine\ncaf\xe9\n')
    with pytest.raises(ValueError, match=r'c\.txt, line 2: not UTF-8'):
        list(CaptionFiles([path]))
    path = tmp_path / 'c.jsonl'
    path.write_text('{"image": "a.jpg", "caption": "fine"}\n{"image": "a.jpg", "caption": 3}\n')
    with pytest.raises(TypeError, match=r'c\.jsonl, line 2: a caption must be a string'):
        list(CaptionFiles([path]))
