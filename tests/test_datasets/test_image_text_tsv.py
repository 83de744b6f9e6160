# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text pairs in TSV files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from helpers import generated_shards as made
from regionclip_mmdet.datasets import BrokenImageError, ImageTextTSV
from regionclip_mmdet.datasets.shards import tsv_index
from regionclip_mmdet.datasets.shards.shard_index import ShardIndex

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_id', 'text')),
]


def make(folder: Path, shards: Any = 'images_*.tsv', **changes: Any) -> ImageTextTSV:
    return ImageTextTSV(shards, data_root=str(folder), **dict(pipeline=PIPELINE) | changes)


def numbers(dataset: ImageTextTSV) -> list[int]:
    return [made.number_in(dataset[i]['inputs']) for i in range(len(dataset))]


def captions(dataset: ImageTextTSV) -> list[list[str]]:
    return [dataset.get_data_info(i)['captions'] for i in range(len(dataset))]


def test_pairs_of_two_files(tmp_path: Path) -> None:
    texts = ['plain text', json.dumps({'captions': ['a', ' ', 'b'], 'tags': 'x y'}), '"quoted"']
    made.write_tsv(tmp_path, 0, [5, 300, 7], texts)
    made.write_tsv(tmp_path, 1, [8], ['größer'])
    dataset = make(tmp_path)
    assert numbers(dataset) == [5, 300, 7, 8] and dataset.shard_starts.tolist() == [0, 3, 4]
    assert captions(dataset) == [['plain text'], ['a', 'b'], ['"quoted"'], ['größer']]
    assert dataset[1]['data_samples'].img_path == f'{tmp_path}/images_0.tsv/k300'
    assert numbers(make(tmp_path)) == [5, 300, 7, 8]  # by the indices kept


def test_broken_pairs(tmp_path: Path) -> None:
    texts = ['fine', ' ', json.dumps({'tags': 'x'}), json.dumps({'captions': []}), 'fine', 'fine']
    images = made.write_tsv(tmp_path, 0, range(6), texts)
    rows = images.read_text().splitlines()
    images.write_text('\n'.join([*rows[:4], 'k4\t', 'k5\tabc!']) + '\n')
    dataset = make(tmp_path, max_broken_share=0.7, skip_broken=False)
    assert {key: reason for _, key, reason in dataset.broken_pairs()} == {
        'k1': 'empty caption',
        'k2': "no key 'captions' in its JSON",
        'k3': 'empty caption',
        'k4': 'no image',
    }
    assert made.number_in(dataset[0]['inputs']) == 0
    with pytest.raises(BrokenImageError, match='images_0.tsv/k5: '):
        dataset[1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda lines: lines[:2], r'images_0\.tsv has 3 rows, .*text_0\.tsv has 2'),
        (lambda lines: [*lines, 'k9\tx'], r'images_0\.tsv has 3 rows, .*text_0\.tsv has 4'),
        (lambda lines: [lines[0], lines[2], lines[1]], r"row 1: the keys 'k1' and 'k2' differ"),
    ],
    ids=['fewer', 'more', 'order'],
)
def test_files_that_do_not_belong_together(tmp_path: Path, change: Any, message: str) -> None:
    made.write_tsv(tmp_path, 0, range(3), ['a', 'b', 'c'])
    text = tmp_path / 'text_0.tsv'
    text.write_text('\n'.join(change(text.read_text().splitlines())) + '\n')
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


def test_which_text_file_belongs_to_an_image_file(tmp_path: Path) -> None:
    names = {'a-images-0.tsv': 'a-text-0.tsv', 'image_1.tsv': 'text_1.tsv'}
    names['img3.tsv'] = 'caption3.tsv'
    for image, text in names.items():
        assert tsv_index.text_file_of(f'/img/{image}') == f'/img/{text}'
    with pytest.raises(ValueError, match='which text file'):
        tsv_index.text_file_of('/images/a.tsv')
    made.write_tsv(tmp_path, 0, [1], ['a'])
    (tmp_path / 'text_0.tsv').rename(tmp_path / 'words.tsv')
    with pytest.raises(FileNotFoundError, match=r'text_0\.tsv'):
        make(tmp_path)
    assert captions(make(tmp_path, text_files='words.tsv')) == [['a']]


def test_a_row_with_a_damaged_key(tmp_path: Path) -> None:
    """It alone is left out; a lost tab, an odd byte, a cut line."""
    images = made.write_tsv(tmp_path, 0, range(7), [f'caption {n}' for n in range(7)])
    rows = images.read_bytes().split(b'\n')
    rows[1] = rows[1].replace(b'\t', b' ')
    rows[3] = b'\xff' + rows[3][1:]
    rows[5] = rows[5][:1]
    images.write_bytes(b'\xef\xbb\xbf' + b'\n'.join(rows))  # as some editors begin a file
    dataset = make(tmp_path, max_broken_share=0.5)
    assert numbers(dataset) == [0, 2, 4, 6]
    assert captions(dataset) == [[f'caption {n}'] for n in (0, 2, 4, 6)]
    assert dataset.get_data_info(0)['img_path'] == f'{images}/k0'
    reasons = {key: reason for _, key, reason in dataset.broken_pairs()}
    assert list(reasons) == ['k1', '\\xff3', 'k5']
    assert all('differ' in reason for reason in reasons.values())


@pytest.mark.parametrize(
    'change',
    [
        lambda text: text[:-3],
        lambda text: text[:-40],
        lambda text: text[:40] + b'!' + text[41:],
        lambda text: text[:40] + b'\xff\0-_' + text[44:],
        lambda text: text[:40] + b'==' + text[42:],
        lambda text: text[:40] + b' ' + text[40:],
    ],
)
def test_base64_is_strict(tmp_path: Path, change: Any) -> None:
    """Python's decoder would pass over most of these; the image would be another one."""
    images = made.write_tsv(tmp_path, 0, range(3), list('abc'))
    rows = images.read_bytes().split(b'\n')
    key, _, text = rows[1].partition(b'\t')
    rows[1] = key + b'\t' + change(text)
    images.write_bytes(b'\r\n'.join(rows))
    dataset = make(tmp_path, skip_broken=False)
    assert [made.number_in(dataset[i]['inputs']) for i in (0, 2)] == [0, 2]
    with pytest.raises(BrokenImageError, match=r'images_0\.tsv/k1: '):
        dataset[1]


class TestOfficialLineOffsets:
    def write(self, folder: Path, offsets: list[int], older: bool = False) -> Path:
        images = made.write_tsv(folder, 0, range(4), list('abcd'))
        path = folder / 'images_0.lineidx'
        path.write_text(''.join(f'{offset}\n' for offset in offsets))
        if older:
            time = images.stat().st_mtime_ns - 1
            os.utime(path, ns=(time, time))
        return folder

    def right(self, folder: Path) -> list[int]:
        content = made.write_tsv(folder, 0, range(4), list('abcd')).read_bytes()
        return [0, *(i + 1 for i, byte in enumerate(content[:-1]) if byte == 10)]

    def scanned(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the files that are read line by line."""
        names: list[str] = []
        original = tsv_index._lines

        def lines(file: Any) -> Any:
            names.append(Path(file.name).name)
            return original(file)

        monkeypatch.setattr(tsv_index, '_lines', lines)
        return names

    def test_are_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        names = self.scanned(monkeypatch)
        folder = self.write(tmp_path, self.right(tmp_path))
        assert numbers(make(folder)) == [0, 1, 2, 3] and names == ['text_0.tsv']

    @pytest.mark.parametrize(
        'wrong',
        ['short', 'one less', 'shifted', 'words', 'empty', 'older', 'beyond', 'too large', 'bytes'],
    )
    def test_are_ignored_if_they_do_not_fit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        names = self.scanned(monkeypatch)
        right = self.right(tmp_path)
        offsets = dict(
            short=right[:-1],
            shifted=[0, *(offset + 1 for offset in right[1:])],
            empty=[],
            beyond=[*right, 10**6],
        )
        offsets |= {'one less': [*right[:2], right[3]], 'too large': [0, 10**30]}
        folder = self.write(tmp_path, offsets.get(wrong, right), older=wrong == 'older')
        if wrong == 'words':
            (folder / 'images_0.lineidx').write_text('zero\n')
        if wrong == 'bytes':
            (folder / 'images_0.lineidx').write_bytes(b'0\n\xff\n')
        assert numbers(make(folder)) == [0, 1, 2, 3]
        assert names.count('images_0.tsv') == 1


def test_keys_with_dots_are_told_apart() -> None:
    places = [('img.1', (0, 1), (0, 1), False), ('img.2', (1, 1), (1, 1), False)]
    index = ShardIndex.from_rows([*places, ('a/b.jpg', (2, 1), (2, 1), False)], [], '')
    assert [index.key(row) for row in range(3)] == ['img.1', 'img.2', 'a/b']
    assert len(index.without({'img'})) == 3
    assert [index.without({'img.1'}).name(row) for row in range(2)] == ['img.2', 'a/b.jpg']
