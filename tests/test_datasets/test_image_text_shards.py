# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text pairs in tar shards: which are found, which are left out, what is read."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import pytest

from helpers import generated_shards as made
from helpers.shard_datasets import captions, make, messages
from regionclip_mmdet.engine.hooks import DatasetCheckHook


def test_every_pair_is_itself(tmp_path: Path) -> None:
    dataset = make(made.write_shards(tmp_path, [3, 1, 5]), '{00000..00002}.tar')
    assert len(dataset) == 9 and dataset.shard_starts.tolist() == [0, 3, 4, 9]
    for number in (8, 0, 3, 2, 4, -1):
        sample = dataset[number]
        number %= 9
        shard = 0 if number < 3 else 1 if number < 4 else 2
        assert made.number_in(sample['inputs']) == number
        data = sample['data_samples']
        assert data.text == f'caption {number}'
        assert data.img_path == f'{tmp_path}/{shard:05d}.tar/{number:09d}.png'
        assert data.img_id == f'{shard:05d}.tar/{number:09d}'
    with pytest.raises(IndexError):
        dataset[9]


@pytest.mark.parametrize('kind', ['png', 'jpg', 'jpeg', 'webp', 'JPG'])
def test_image_formats(tmp_path: Path, kind: str) -> None:
    content = made.image(7, {'png': 'PNG', 'webp': 'WEBP'}.get(kind, 'JPEG'))
    made.write_tar(tmp_path / 'a.tar', [(f'x/photo.v2.{kind}', content), ('x/photo.v2.txt', b'p')])
    dataset = make(tmp_path)
    assert dataset.image_bytes(0) == content
    assert dataset[0]['data_samples'].img_id == 'a.tar/x/photo.v2'


def test_where_captions_come_from(tmp_path: Path) -> None:
    folder = made.write_shards(tmp_path, [2])
    assert captions(make(folder)) == [['caption 0'], ['caption 1']]
    # one index each: neither setting may read the other's
    assert captions(make(folder, caption_key='alt')) == [['a 0', 'b 0'], ['a 1', 'b 1']]
    assert captions(make(folder)) == [['caption 0'], ['caption 1']]
    assert len(list(folder.glob('*.npz'))) == 2
    assert captions(make(folder, caption_key='caption')) == [['caption 0'], ['caption 1']]
    made.write_tar(folder / '00000.tar', [m for m in made.pair(4) if not m[0].endswith('txt')])
    assert captions(make(folder)) == [['caption 4']]


def test_long_names_and_other_members(tmp_path: Path) -> None:
    key = 'folder/' + 'k' * 150
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.PAX_FORMAT) as archive:
        folder = tarfile.TarInfo('folder')
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in [('stats', b'1'), (f'{key}.png', made.image(3))]:
            (tmp_path / 'file').write_bytes(content)
            archive.add(tmp_path / 'file', name)
        (tmp_path / 'file').write_text('größer')
        archive.add(tmp_path / 'file', f'{key}.txt')
    dataset = make(tmp_path)
    assert captions(dataset) == [['größer']] and made.number_in(dataset[0]['inputs']) == 3
    assert dataset.get_data_info(0)['img_id'] == f'a.tar/{key}' and not dataset.broken_pairs()


def test_broken_pairs_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = made.image(0)
    made.write_tar(
        tmp_path / 'a.tar',
        [
            *made.pair(1),
            ('empty.png', image),
            ('empty.txt', b' \n'),
            ('alone.png', image),
            ('text.txt', b'a dog'),
            ('number.png', image),
            ('number.json', b'{"caption": 3}'),
            ('bad.png', image),
            ('bad.json', b'{'),
            ('bytes.png', image),
            ('bytes.txt', b'\xff\xfe'),
            ('none.png', image),
            ('none.json', b'{"url": "x"}'),
            *made.pair(2),
            ('000000002.txt', b'another'),
        ],
    )
    with pytest.raises(ValueError, match=r'8 of 10 pairs .*max_broken_share=0\.1'):
        make(tmp_path)
    text = messages(caplog, lambda: make(tmp_path, max_broken_share=0.8))
    dataset = make(tmp_path, max_broken_share=0.8)
    assert captions(dataset) == [['caption 1'], ['caption 2']]
    reasons = {key: reason for shard, key, reason in dataset.broken_pairs()}
    assert {shard for shard, _, _ in dataset.broken_pairs()} == {f'{tmp_path}/a.tar'}
    assert reasons == {
        'empty': 'empty caption',
        'alone': 'image without .txt or .json',
        'text': 'text without an image',
        'number': 'caption is no string but int',
        'bad': 'text is no valid JSON',
        'bytes': 'text is not UTF-8',
        'none': "no key 'caption' in its JSON",
        '000000002.txt again': 'the first one is used',
    }
    assert all(f'{tmp_path}/a.tar/{key}: {reason}' in text for key, reason in reasons.items())


@pytest.mark.parametrize('cut', ['data', 'padding', 'header', 'end'])
def test_what_is_whole_in_a_truncated_shard_is_used(tmp_path: Path, cut: str) -> None:
    """Pairs of three members of a block of header and one of data each: 3072 bytes a pair."""
    made.write_shards(tmp_path, [4, 4])
    size = 512 * 6
    keep = {'data': 2 * size + 520, 'padding': 3 * size - 20, 'header': 2 * size + 100}
    path = tmp_path / '00001.tar'
    whole = path.read_bytes()
    assert whole[2 * size :].startswith(b'000000006.png\0') and len(made.image(6)) < 492
    path.write_bytes(whole[: keep.get(cut, 4 * size)])
    dataset = make(tmp_path)
    numbers = [made.number_in(dataset[i]['inputs']) for i in range(len(dataset))]
    assert numbers == list(range({'end': 8, 'padding': 7}.get(cut, 6)))
    ((shard, key, reason),) = dataset.broken_pairs()
    assert (shard, key) == (str(path), '')
    last = dict(data='000000006.png', padding='000000006.json', end='000000007.json')
    assert last.get(cut, '000000005.json') in reason


def test_a_damaged_header_in_the_middle(tmp_path: Path) -> None:
    path = made.write_shards(tmp_path, [4]) / '00000.tar'
    content = bytearray(path.read_bytes())
    content[512 * 6 : 512 * 6 + 200] = b'?' * 200
    path.write_bytes(content)
    dataset = make(tmp_path, max_broken_share=0.25)
    assert captions(dataset) == [['caption 0'], ['caption 2'], ['caption 3']]
    assert [made.number_in(dataset[i]['inputs']) for i in range(3)] == [0, 2, 3]
    assert [found[1:] for found in dataset.broken_pairs()] == [
        ('', f'no header after 000000000.json: read on at byte {512 * 8}'),
        ('000000001', 'text without an image'),
    ]


def test_shards_that_are_none(tmp_path: Path) -> None:
    made.write_shards(tmp_path, [2] * 9)
    (tmp_path / 'zero.tar').touch()
    (tmp_path / 'page.tar').write_text('<html>404</html>' * 100)
    with tarfile.open(tmp_path / 'zip.tar', 'w:gz'):
        pass
    with pytest.raises(ValueError, match=r'3 of 12 shards .*max_broken_share'):
        make(tmp_path)
    dataset = make(tmp_path, max_broken_share=0.25)
    assert len(dataset) == 18
    assert [Path(shard).name for shard, _, _ in dataset.broken_pairs()] == [
        'page.tar',
        'zero.tar',
        'zip.tar',
    ]
    with pytest.raises(ValueError, match='no image with a caption in 1 shards'):
        make(tmp_path, 'zero.tar', max_broken_share=1)


def test_loaders_that_look_for_files_are_refused(tmp_path: Path) -> None:
    made.write_shards(tmp_path, [2])
    with pytest.raises(TypeError, match="Use dict\\(type='LoadImageChecked'\\)"):
        make(tmp_path, pipeline=[dict(type='LoadImageFromFile')])


def test_subsets_and_copies(tmp_path: Path) -> None:
    dataset = make(made.write_shards(tmp_path, [3, 4]))
    part = dataset.get_subset([5, 1])
    assert [made.number_in(part[i]['inputs']) for i in range(len(part))] == [5, 1]
    assert len(dataset) == 7 and len(make(tmp_path, indices=2)) == 2
    copied = pickle.loads(pickle.dumps(dataset))
    assert made.number_in(copied[6]['inputs']) == 6


def test_checks_at_the_start_look_for_no_image_files(tmp_path: Path) -> None:
    dataset = make(made.write_shards(tmp_path, [3]))
    DatasetCheckHook()._check_dataset(dataset, 'training')
    dataset.images_in_files = False
    with pytest.raises(FileNotFoundError):
        DatasetCheckHook()._check_dataset(dataset.get_subset(2), 'training')


def test_more_shards_than_files_kept_open(tmp_path: Path) -> None:
    dataset = make(made.write_shards(tmp_path, [1] * 6))
    dataset.files._reader.max_open = 2
    for number in (0, 1, 2, 3, 4, 5, 0, 5, 1):
        assert made.number_in(dataset[number]['inputs']) == number
        assert len(dataset.files._reader._handles) <= 2
