# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text pairs in tar shards: which are found, which are left out, what is read."""

from __future__ import annotations

import copy
import errno
import logging
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from helpers import generated_shards as made
from regionclip_mmdet.datasets import BrokenImageError, ImageTextShards
from regionclip_mmdet.datasets.shards import image_text_shards
from regionclip_mmdet.datasets.shards.exclusions import exclusion_line
from regionclip_mmdet.engine.hooks import DatasetCheckHook

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_id', 'text')),
]


def make(folder: Path, shards: Any = '*.tar', **changes: Any) -> ImageTextShards:
    options = dict(pipeline=PIPELINE) | changes
    return ImageTextShards(shards, data_root=str(folder), **options)


def captions(dataset: ImageTextShards) -> list[list[str]]:
    return [dataset.get_data_info(i)['captions'] for i in range(len(dataset))]


def messages(caplog: pytest.LogCaptureFixture, work: Any) -> str:
    logger = MMLogger.get_instance('image_text_shards')
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING):
            work()
    finally:
        logger.removeHandler(caplog.handler)
    return '\n'.join(record.getMessage() for record in caplog.records)


def test_every_pair_is_itself(tmp_path: Path) -> None:
    dataset = make(made.write_shards(tmp_path, [3, 1, 5]), '{00000..00002}.tar')
    assert len(dataset) == 9 and dataset.shard_starts.tolist() == [0, 3, 4, 9]
    for number in (8, 0, 3, 2, 4, -1):
        sample = dataset[number]
        number %= 9
        shard = 0 if number < 3 else 1 if number < 4 else 2
        assert made.number_in(sample['inputs']) == number
        data = sample['data_samples']
        assert data.text == f'picture {number}'
        assert data.img_path == f'{tmp_path}/{shard:05d}.tar/{number:09d}.png'
        assert data.img_id == f'{shard:05d}.tar/{number:09d}'
    with pytest.raises(IndexError):
        dataset[9]


@pytest.mark.parametrize('kind', ['png', 'jpg', 'jpeg', 'webp', 'JPG'])
def test_image_formats(tmp_path: Path, kind: str) -> None:
    content = made.picture(7, {'png': 'PNG', 'webp': 'WEBP'}.get(kind, 'JPEG'))
    made.write_tar(tmp_path / 'a.tar', [(f'x/photo.v2.{kind}', content), ('x/photo.v2.txt', b'p')])
    dataset = make(tmp_path)
    assert dataset.image_bytes(0) == content
    assert dataset[0]['data_samples'].img_id == 'a.tar/x/photo.v2'


def test_where_captions_come_from(tmp_path: Path) -> None:
    folder = made.write_shards(tmp_path, [2])
    assert captions(make(folder)) == [['picture 0'], ['picture 1']]
    # one index each: neither setting may read the other's
    assert captions(make(folder, caption_key='alt')) == [['a 0', 'b 0'], ['a 1', 'b 1']]
    assert captions(make(folder)) == [['picture 0'], ['picture 1']]
    assert len(list(folder.glob('*.npz'))) == 2
    assert captions(make(folder, caption_key='caption')) == [['picture 0'], ['picture 1']]
    made.write_tar(folder / '00000.tar', [m for m in made.pair(4) if not m[0].endswith('txt')])
    assert captions(make(folder)) == [['picture 4']]


def test_long_names_and_other_members(tmp_path: Path) -> None:
    key = 'folder/' + 'k' * 150
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.PAX_FORMAT) as archive:
        folder = tarfile.TarInfo('folder')
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in [('stats', b'1'), (f'{key}.png', made.picture(3))]:
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
    image = made.picture(0)
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
    assert captions(dataset) == [['picture 1'], ['picture 2']]
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
    assert whole[2 * size :].startswith(b'000000006.png\0') and len(made.picture(6)) < 492
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
    assert captions(dataset) == [['picture 0'], ['picture 2'], ['picture 3']]
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


class TestIndices:
    def test_are_made_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = made.write_shards(tmp_path, [2, 3])
        first = make(folder)
        assert sorted(p.name for p in folder.iterdir() if p.suffix == '.npz') == [
            '00000.tar.index.npz',
            '00001.tar.index.npz',
        ]
        monkeypatch.setattr(image_text_shards, 'index_tar', lambda *a: pytest.fail('made again'))
        again = make(folder)
        assert captions(again) == captions(first) and len(again) == 5
        assert made.number_in(again[4]['inputs']) == 4

    def test_of_changed_shards_are_rebuilt(self, tmp_path: Path) -> None:
        folder = made.write_shards(tmp_path, [2])
        shard = folder / '00000.tar'
        make(folder)
        before = shard.stat()
        content = [member for number in (5, 6) for member in made.pair(number)]
        made.write_tar(shard, content)
        assert shard.stat().st_size == before.st_size
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert captions(make(folder)) == [['picture 5'], ['picture 6']]

    @pytest.mark.parametrize('content', [b'', b'nothing', b'PK\x03\x04 half a file'])
    def test_that_are_damaged_are_rebuilt(
        self, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = made.write_shards(tmp_path, [2])
        index = folder / '00000.tar.index.npz'
        make(folder)
        whole = index.read_bytes()
        for damaged in (content, whole[: len(whole) // 2]):
            index.write_bytes(damaged)
            text = messages(caplog, lambda: len(make(folder)))
            assert f'index {index} is damaged' in text and 'is rebuilt' in text
            assert index.read_bytes() == whole

    @pytest.mark.parametrize(
        ('name', 'change'),
        [
            ('images', lambda old: old + 10**7),
            ('images', lambda old: -old),
            ('images', lambda old: old[:1]),
            ('images', lambda old: old.astype(float)),
            ('texts', lambda old: old * 10**12),
            ('names', lambda old: old.astype(str)),
            ('is_json', lambda old: old.astype(int)),
            ('is_json', lambda old: old[:0]),
            ('problems', lambda old: np.array('[[["a", 3]], ""]')),
            ('problems', lambda old: np.array('3')),
            ('state', lambda old: np.array('[' * 9999)),
            ('state', lambda old: np.array('[]')),
        ],
    )
    def test_that_say_what_cannot_be_are_rebuilt(
        self, tmp_path: Path, name: str, change: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whole by their checksums, but not written by us, or not for this shard."""
        folder = made.write_shards(tmp_path, [2])
        index = folder / '00000.tar.index.npz'
        make(folder)
        whole = index.read_bytes()
        with np.load(index) as content:
            arrays = dict(content)
        np.savez(index, **arrays | {name: change(arrays[name])})
        text = messages(caplog, lambda: len(make(folder)))
        assert str(index) in text and 'is rebuilt' in text and index.read_bytes() == whole

    def test_in_a_folder_of_their_own(self, tmp_path: Path) -> None:
        made.write_shards(tmp_path / 'a', [2])
        made.write_shards(tmp_path / 'b', [3])
        cache = tmp_path / 'indices'
        shards = ['a/00000.tar', 'b/00000.tar']
        for _ in range(2):
            dataset = make(tmp_path, shards, cache_dir=str(cache))
            assert dataset.shard_starts.tolist() == [0, 2, 5]
        assert len(list(cache.iterdir())) == 2 and len(list((tmp_path / 'a').iterdir())) == 1

    def test_of_a_disk_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = made.write_shards(tmp_path, [2])

        def fail(*_: Any) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, 'pread', fail)
        with pytest.raises(OSError, match=rf'{folder}/00000\.tar cannot be read: Input/output'):
            make(folder)

    def test_that_cannot_be_kept(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder = made.write_shards(tmp_path / 'a', [2, 1, 3])
        (tmp_path / 'file').touch()
        work = lambda: make(folder, cache_dir=str(tmp_path / 'file'))  # noqa: E731
        text = messages(caplog, work)
        assert text.count('are rebuilt in every run') == 1 and '00000.tar' in text
        assert len(work()) == 6


class TestBrokenImages:
    def shards(self, folder: Path, size: int = 200, every: int = 20) -> Path:
        """One of ``every`` images is half a file; their captions are sound."""
        members = []
        for number in range(size):
            image, *rest = made.pair(number)
            if number % every == 3:
                image = (image[0], image[1][:40])
            members += [image, *rest]
        made.write_tar(folder / '00000.tar', members)
        return folder

    def test_are_skipped_counted_and_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = make(self.shards(tmp_path))
        text = messages(caplog, lambda: [dataset[i] for i in range(200)])
        assert dataset.num_broken >= 10
        assert f'skipped broken image 1, {tmp_path}/00000.tar/000000003.png' in text

    @pytest.mark.parametrize(
        'context', [None, 'fork', pytest.param('spawn', marks=pytest.mark.slow)]
    )
    def test_are_counted_over_workers(self, tmp_path: Path, context: str | None) -> None:
        workers = dict(num_workers=2, multiprocessing_context=context) if context else {}
        if context == 'spawn':  # imports everything anew: few of them
            workers['num_workers'] = 1
        dataset = make(self.shards(tmp_path))
        for epoch in (1, 2):
            loader = DataLoader(dataset, batch_size=5, collate_fn=list, **workers)
            assert sum(map(len, loader)) == 200
            assert (dataset.num_broken, dataset.num_tried) == (10 * epoch, 200 * epoch)
            if context == 'spawn':
                break
        copied = copy.deepcopy(dataset)
        before = dataset.num_tried
        copied[0]
        assert (copied.num_tried, dataset.num_tried) == (before + 1, before)

    def test_are_errors_if_told_so(self, tmp_path: Path) -> None:
        dataset = make(self.shards(tmp_path), skip_broken=False)
        with pytest.raises(BrokenImageError, match=r'00000\.tar/000000003\.png: .*decoded'):
            dataset[3]

    def test_end_the_run_if_they_are_too_many(self, tmp_path: Path) -> None:
        folder = self.shards(tmp_path, every=5)
        dataset = make(folder)
        for i in range(5):
            dataset[i]
        # more than a tenth of all 200, as soon as that is certain
        with pytest.raises(OSError, match=r'21 of 104 samples asked .*max_broken_share=0\.1'):
            for i in range(5, 200):
                dataset[i]
        patient = make(folder, max_broken_share=0.5)
        assert len([patient[i] for i in range(200)]) == 200

    @pytest.mark.parametrize('seed', range(3))
    def test_are_replaced_from_their_own_shard(self, tmp_path: Path, seed: int) -> None:
        self.shards(tmp_path, size=20, every=4)
        made.write_shards(tmp_path / 'b', [5] * 3)
        dataset = make(tmp_path, ['00000.tar', 'b/*.tar'], max_broken_share=1.0)
        drawn = []
        for _ in range(2):
            np.random.seed(seed)
            drawn.append([dataset[i]['data_samples'] for i in range(3, 20, 4)])
        assert [s.img_id for s in drawn[0]] == [s.img_id for s in drawn[1]]  # as after resuming
        assert sum(s.img_id.startswith('00000.tar/') for s in drawn[0]) >= 4
        assert [s.instead_of for s in drawn[0]] == [f'00000.tar/{i:09d}' for i in range(3, 20, 4)]

    def test_a_lost_shard_of_many_does_not_end_the_run(self, tmp_path: Path) -> None:
        """It is all that is seen at first, and yet but a twentieth; the next one stands in."""
        made.write_shards(tmp_path, [20] * 20)
        dataset = make(tmp_path)
        os.truncate(tmp_path / '00000.tar', 0)
        drawn = [dataset[i]['data_samples'].img_id.split('/')[0] for i in range(25)]
        assert drawn == ['00001.tar'] * 25
        assert dataset.num_broken == 20 and dataset.num_tried == 25
        os.truncate(tmp_path / '00001.tar', 0)
        os.truncate(tmp_path / '00019.tar', 0)
        assert dataset[399]['data_samples'].img_id.startswith('00002.tar')
        with pytest.raises(OSError, match=r'41 of 4\d samples asked'):
            for i in range(20, 60):
                dataset[i % 40]

    def test_can_be_left_out_by_a_list(self, tmp_path: Path) -> None:
        folder = self.shards(tmp_path)
        bad = range(3, 200, 20)
        (folder / 'broken.tsv').write_text(
            ''.join(f'00000.tar\t{n:09d}\tcannot be decoded\n' for n in bad)
        )
        dataset = make(folder, exclude='broken.tsv')
        numbers = [made.number_in(dataset[i]['inputs']) for i in range(len(dataset))]
        assert numbers == [n for n in range(200) if n not in bad] and dataset.num_broken == 0
        made.write_shards(folder / 'other', [2])
        both = ['00000.tar', 'other/00000.tar']
        with pytest.raises(ValueError, match=r'line 1: 2 shards are called 00000\.tar'):
            make(folder, both, exclude='broken.tsv')
        (folder / 'broken.tsv').write_text('00000.tar 000000003\n')
        with pytest.raises(ValueError, match=r'broken\.tsv, line 1: needs a shard, a tab'):
            make(folder, exclude='broken.tsv')

    def test_lists_leave_the_account_of_damage_alone(self, tmp_path: Path) -> None:
        made.write_shards(tmp_path, [4])
        os.truncate(tmp_path / '00000.tar', 512 * 6 * 3 + 520)
        before = make(tmp_path).broken_pairs()
        (tmp_path / 'broken.tsv').write_text('00000.tar\t000000001\n')
        dataset = make(tmp_path, exclude='broken.tsv')
        assert captions(dataset) == [['picture 0'], ['picture 2']]
        assert dataset.broken_pairs() == before and len(before) == 1
        with pytest.raises(FileNotFoundError, match=r'exclude.*none\.tsv does not exist.*--broken'):
            make(tmp_path, exclude='none.tsv')

    def test_of_a_shard_that_shrinks_while_training(self, tmp_path: Path) -> None:
        dataset = make(made.write_shards(tmp_path, [4]), skip_broken=False)
        os.truncate(tmp_path / '00000.tar', 512 * 6 * 2)
        assert dataset[1]['data_samples'].text == 'picture 1'
        with pytest.raises(BrokenImageError, match=r'00000\.tar/000000002\.png: .*ends before'):
            dataset[2]


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


class TestExclusions:
    KEYS = (
        *('a\tb', 'a\nb', 'a\r', 'c\\td', 'c\td', 'e\\', 'quo"te', '"quoted"', "it's", ' front'),
        *(
            'back ',
            'in ner',
            'nb\u00a0sp',
            'gro\u0308ße',
            'größe',
            '猫',
            'x.y.z',
            'd/e f',
            '#1',
            '0',
        ),
        *('\ufefffirst', 'a\u2028b', '1,2', 'e\u0301'),
    )

    def shards(self, folder: Path, name: str = 'a.tar') -> Path:
        folder.mkdir(exist_ok=True)
        pairs = [[(f'{key}.png', made.picture(n)), (f'{key}.txt', b'x')]
                 for n, key in enumerate(self.KEYS)]  # fmt: skip
        return made.write_tar(folder / name, [member for both in pairs for member in both])

    def left(self, folder: Path, lines: str | bytes, **changes: Any) -> list[int]:
        content = lines if isinstance(lines, bytes) else lines.encode()
        (folder / 'out.tsv').write_bytes(content)
        dataset = make(folder, exclude='out.tsv', pipeline=PIPELINE[:1], **changes)
        return [made.number_in(dataset[i]['img']) for i in range(len(dataset))]

    @pytest.mark.parametrize('shard', ['a.tar', 'b c.tar', 'gro\u0308ße "1".tar', 'tab\t.tar'])
    def test_any_key_as_our_tools_write_it(self, tmp_path: Path, shard: str) -> None:
        path = str(self.shards(tmp_path, shard))
        everything = set(range(len(self.KEYS)))
        for number, key in enumerate(self.KEYS):
            line = exclusion_line(path, key, 'why\tever\n') + '\n'
            assert self.left(tmp_path, line) == sorted(everything - {number}), key
        lines = [exclusion_line(path, key, 'why') for key in self.KEYS[1:]]
        for text in ('\n'.join(lines), '\r\n'.join(lines), '\ufeff' + '\n'.join(lines)):
            assert self.left(tmp_path, text) == [0]

    @pytest.mark.parametrize(
        ('written', 'key'),
        [
            ('c\\td', 'c\td'),
            ('e\\', 'e\\'),
            ('"quo""te"', 'quo"te'),
            ('"it\'s"', "it's"),
            ('"quoted"', '"quoted"'),
            ('front', ' front'),
            ('back', 'back '),
            ('größe', 'größe'),
            ('gro\u0308ße', 'gro\u0308ße'),
            ('é', 'e\u0301'),
            ('in ner.png', 'in ner'),
            ('x.y.z.png', 'x.y.z'),
            (' 0 ', '0'),
        ],
    )
    def test_keys_as_others_write_them(self, tmp_path: Path, written: str, key: str) -> None:
        self.shards(tmp_path)
        everything = set(range(len(self.KEYS)))
        for shard in ('a.tar', './a.tar', '"a.tar"', '/elsewhere/a.tar'):
            found = self.left(tmp_path, f'{shard}\t{written}\twhy\n')
            assert found == sorted(everything - {self.KEYS.index(key)})

    def test_lines_without_effect_are_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.shards(tmp_path)
        text = messages(caplog, lambda: self.left(tmp_path, 'a.tar\t0\na.tar\tno\nb.tar\tno\n'))
        assert '1 of 3 lines name no pair of their shard, e.g. ["line 2: \'no\' of a.tar"]' in text
        text = messages(caplog, lambda: self.left(tmp_path, 'b.tar\tno\n\n'))
        assert 'none of its 1 lines is of a shard of this dataset' in text
        with pytest.raises(ValueError, match=r'out\.tsv \(exclude\) is not UTF-8'):
            self.left(tmp_path, b'a.tar\t\xff\n')
