# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Precomputed proposals of shards: from files to samples; what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from torch.utils.data import DataLoader

from helpers import generated_shards as made
from regionclip_mmdet.datasets import BrokenImageError, ImageTextShards, ImageTextTSV
from regionclip_mmdet.datasets.shards.pieces import array_places
from regionclip_mmdet.datasets.shards.proposal_format import (
    read_meta,
    write_proposals,
    write_teacher,
)

FINGERPRINT = dict(weights='abc', num=9)


def move(flip: float, kind: str = 'MoveProposals') -> dict:
    """From 8 x 6 pixels to twice of that."""
    resize = dict(type='Resize', scale=(16, 12), keep_ratio=True, backend='pillow')
    return dict(type=kind, transforms=[resize, dict(type='RandomFlip', prob=flip)])


def pipeline(flip: float = 0.0) -> list[dict]:
    return [
        dict(type='LoadImageChecked'),
        dict(type='LoadRegionProposals'),
        move(flip),
        dict(type='PickCaption'),
        dict(type='PackRegionInputs', meta_keys=('img_id', 'text')),
    ]


def boxes_of(number: int) -> np.ndarray:
    """Boxes of a pair in fractions of the image; ``number % 4`` of them."""
    rows = np.arange(number % 4, dtype=np.float32)[:, None]
    return (np.array([[0.0, 0.1, 0.4, 0.5]], dtype=np.float32) + rows / 8 + number / 1000).astype(
        np.float32
    )


def logits_of(number: int) -> np.ndarray:
    return number - np.arange(number % 4, dtype=np.float32)


def embeddings_of(number: int) -> np.ndarray:
    return np.full((number % 4, 3), number, dtype=np.float16)


def make(folder: Path, **changes: Any) -> ImageTextShards:
    options = dict(pipeline=pipeline(), proposals='p') | changes
    return ImageTextShards('*.tar', data_root=str(folder), **options)


def store(
    folder: Path, out: str = 'p', broken: dict | None = None, fingerprint: dict | None = None
) -> Path:
    """Files of proposals and embeddings of all shards of a folder."""
    dataset = make(folder, proposals=None, pipeline=[])
    for shard, index in enumerate(dataset.indices):
        numbers = [int(index.name(row).partition('.')[0]) for row in range(len(index))]
        path = folder / out / f'{shard:05d}.proposals.npz'
        write_proposals(
            path,
            index,
            [boxes_of(n) for n in numbers],
            [logits_of(n) for n in numbers],
            fingerprint or FINGERPRINT,
            broken or {},
        )
        meta = read_meta(str(path), '')[1]
        write_teacher(
            folder / out / f'{shard:05d}.teacher.npz',
            [embeddings_of(n) for n in numbers],
            3,
            meta['boxes_sha256'],
            dict(teacher='t'),
        )
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of three and four pairs with files of proposals."""
    return store(made.write_shards(tmp_path, [3, 4]))


def test_every_pair_has_its_own(shards: Path) -> None:
    dataset = make(shards, teacher_embeddings=True)
    for number in (6, 0, 3, 1, 2, 5, 4, -1):
        sample = dataset[number]['data_samples']
        number %= 7
        assert sample.text == f'caption {number}'
        found = sample.proposals
        pixels = boxes_of(number) * np.array([16, 12, 16, 12])
        np.testing.assert_allclose(found.bboxes.numpy(), pixels, atol=1e-5)
        np.testing.assert_array_equal(found.objectness_logits.numpy(), logits_of(number))
        np.testing.assert_array_equal(found.teacher_embeddings.numpy(), embeddings_of(number))
        assert found.bboxes.dtype == found.objectness_logits.dtype == torch.float32
    plain = make(shards)[6]['data_samples'].proposals
    assert 'teacher_embeddings' not in plain and len(plain) == 2


def test_boxes_are_mirrored_with_their_image(shards: Path) -> None:
    straight, mirrored = make(shards)[3], make(shards, pipeline=pipeline(flip=1.0))[3]
    x1, y1, x2, y2 = straight['data_samples'].proposals.bboxes.T
    wanted = torch.stack([16 - x2, y1, 16 - x1, y2], dim=1)
    torch.testing.assert_close(mirrored['data_samples'].proposals.bboxes, wanted)
    torch.testing.assert_close(
        mirrored['data_samples'].proposals.objectness_logits,
        straight['data_samples'].proposals.objectness_logits,
    )


@pytest.mark.parametrize('annotated', [False, True])
def test_moving_is_mmdets(annotated: bool) -> None:
    """The image is transformed once, the result is that of mmdet's wrapper."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    found = []
    for kind in ('MoveProposals', 'ProposalBroadcaster'):
        sample = dict(img=pixels.copy(), img_shape=(6, 8), proposals=boxes_of(3) * 4)
        if annotated:
            sample['gt_bboxes'] = boxes_of(2) * 4
        found.append(Compose([move(1.0, kind)])(sample))
    for key in ('img', 'proposals', *(['gt_bboxes'] if annotated else [])):
        np.testing.assert_array_equal(*(np.asarray(results[key]) for results in found))
    assert found[0]['img'].shape == (12, 16, 3)
    assert ('gt_bboxes' in found[0]) == annotated
    with pytest.raises(KeyError, match=r'MoveProposals: a\.png has no proposals'):
        Compose([move(1.0)])(dict(img_path='a.png', img=pixels))


def test_workers_subsets_and_copies_read_the_same(shards: Path) -> None:
    dataset = make(shards)
    dataset[0]  # files are open when the workers begin
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    logits = [s['data_samples'].proposals.objectness_logits.tolist() for s in loader]
    assert logits == [logits_of(number).tolist() for number in range(7)]
    for other in (dataset.get_subset([5, 2]), pickle.loads(pickle.dumps(dataset))):
        number = 5 if len(other) == 2 else 0
        found = other[0]['data_samples'].proposals.objectness_logits
        assert found.tolist() == logits_of(number).tolist()


def test_memory_does_not_grow_with_the_boxes(tmp_path: Path) -> None:
    made.write_shards(tmp_path, [5])
    index = make(tmp_path, proposals=None, pipeline=[]).indices[0]
    sizes = []
    for number in (1, 5000):
        parts = [np.zeros((number, 4), np.float32)] * 5, [np.zeros(number, np.float32)] * 5
        write_proposals(tmp_path / 'p' / '00000.proposals.npz', index, *parts, FINGERPRINT, {})
        dataset = make(tmp_path)
        assert len(dataset[4]['data_samples'].proposals) == number
        sizes.append(len(pickle.dumps(dataset._stored)))
    assert sizes[1] < sizes[0] + 100


def test_files_may_hold_more_pairs(shards: Path) -> None:
    (shards / 'out.tsv').write_text('00000.tar\t000000001\tdamaged\n')
    dataset = make(shards, exclude='out.tsv')
    found = [dataset[i]['data_samples'] for i in range(len(dataset))]
    assert [s.text for s in found] == [f'caption {n}' for n in (0, 2, 3, 4, 5, 6)]
    for sample, number in zip(found, (0, 2, 3, 4, 5, 6), strict=True):
        assert sample.proposals.objectness_logits.tolist() == logits_of(number).tolist()


def test_tsv_files(tmp_path: Path) -> None:
    made.write_tsv(tmp_path, 0, [5, 6, 7], ['five', 'six', 'seven'])
    options = dict(data_root=str(tmp_path), pipeline=pipeline())
    index = ImageTextTSV('images_0.tsv', **options).indices[0]
    numbers = (5, 6, 7)
    write_proposals(
        tmp_path / 'q' / 'images_0.proposals.npz',
        index,
        [boxes_of(n) for n in numbers],
        [logits_of(n) for n in numbers],
        FINGERPRINT,
        {},
    )
    dataset = ImageTextTSV('images_0.tsv', proposals=str(tmp_path / 'q'), **options)
    found = [dataset[i]['data_samples'].proposals.objectness_logits.tolist() for i in range(3)]
    assert found == [logits_of(n).tolist() for n in numbers]


def test_images_that_were_broken_are_skipped(shards: Path) -> None:
    store(shards, broken={1: 'no image at all'})
    dataset = make(shards, skip_broken=False)
    assert dataset[0]['data_samples'].text == 'caption 0'
    with pytest.raises(OSError, match=r'00000\.tar/000000001\.png.*000000001: no image at all'):
        dataset[1]
    with pytest.raises(BrokenImageError):
        dataset._stored.of(1, 1)


def test_the_format_is_as_agreed(shards: Path) -> None:
    with np.load(shards / 'p' / '00001.proposals.npz', allow_pickle=False) as content:
        assert content['keys'].tolist() == [f'{n:09d}' for n in range(3, 7)]
        assert content['starts'].tolist() == [0, 3, 3, 4, 6]
        assert content['boxes'].shape == (6, 4) and content['boxes'].dtype == np.float32
        np.testing.assert_array_equal(content['boxes'][3:4], boxes_of(5))
        assert json.loads(str(content['meta']))['fingerprint'] == FINGERPRINT
    first = (shards / 'p' / '00001.proposals.npz').read_bytes()
    store(shards)
    assert (shards / 'p' / '00001.proposals.npz').read_bytes() == first
    assert not list((shards / 'p').glob('*.being-written'))


COMMAND = r'Make it: python tools/pretrain/precompute_proposals\.py CONFIG --out \S+/p'


def damage(path: Path, how: str) -> None:
    """Ways in which a file can be wrong."""
    with np.load(path, allow_pickle=False) as content:
        arrays = dict(content)
    if how == 'cut off':
        path.write_bytes(path.read_bytes()[:-100])
    elif how == 'another file':
        path.write_bytes(b'<html>')
    elif how == 'compressed':
        np.savez_compressed(path, **arrays)
    elif how == 'fewer boxes':
        np.savez(path, **arrays | dict(boxes=arrays['boxes'][:-1]))
    elif how == 'other types':
        np.savez(path, **arrays | dict(boxes=arrays['boxes'].astype(np.float64)))
    elif how == 'version':
        meta = json.loads(str(arrays['meta'])) | dict(version=99)
        np.savez(path, **arrays | dict(meta=np.array(json.dumps(meta))))
    elif how == 'broken':
        meta = json.loads(str(arrays['meta'])) | dict(broken=[['x', 'y', 'z']])
        np.savez(path, **arrays | dict(meta=np.array(json.dumps(meta))))
    elif how == 'objects':
        np.savez(path, **arrays | dict(meta=np.array({}, dtype=object)))
    elif how == 'nested':
        np.savez(path, **arrays | dict(meta=np.array('[' * 99999)))
    elif how == 'no rows':
        np.savez(path, **arrays | dict(starts=arrays['starts'][:0]))


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('cut off', r'00001\.proposals\.npz is damaged'),
        ('another file', r'00001\.proposals\.npz is damaged'),
        ('compressed', 'arrays are compressed'),
        ('fewer boxes', 'counts 6 proposals, and holds 5 boxes and 6 logits'),
        ('other types', "no array 'boxes' of the right kind"),
        ('version', 'has version 99, this program reads 2'),
        ('objects', r'meta\.npy is no plain array'),
        ('nested', 'RecursionError'),
        ('no rows', 'has 4 checksums of -1 pairs'),
        ('broken', "'x' among broken in meta"),
    ],
)
def test_damaged_files_are_refused(shards: Path, how: str, message: str) -> None:
    damage(shards / 'p' / '00001.proposals.npz', how)
    with pytest.raises(ValueError, match=rf'ImageTextShards: .*{message}.*{COMMAND} --overwrite'):
        make(shards)


@pytest.mark.parametrize('kind', ['proposals', 'teacher'])
def test_files_of_one_another_are_refused(shards: Path, kind: str) -> None:
    other = {'proposals': 'teacher', 'teacher': 'proposals'}[kind]
    content = (shards / 'p' / f'00001.{other}.npz').read_bytes()
    (shards / 'p' / f'00001.{kind}.npz').write_bytes(content)
    with pytest.raises(ValueError, match=rf'00001\.{kind}\.npz is damaged, or not what it should'):
        make(shards, teacher_embeddings=True)


@pytest.mark.parametrize('kind', ['proposals', 'teacher'])
def test_wrong_values_are_noticed_when_they_are_read(shards: Path, kind: str) -> None:
    """A changed byte in what belongs to a pair: that pair is broken, others are read."""
    path = shards / 'p' / f'00001.{kind}.npz'
    whole = path.read_bytes()
    places = array_places(path)
    names = ('starts', 'boxes', 'objectness') if kind == 'proposals' else ('embeddings',)
    for name in (*names, 'checksums'):
        place = places[name]
        row = 3 if name in ('starts', 'checksums') else place.shape[0] - 1  # of the last pair
        for offset in {place.rows(row, row)[0], place.rows(row + 1, row)[0] - 1}:
            content = bytearray(whole)
            content[offset] ^= 0x40
            path.write_bytes(content)
            dataset = make(shards, teacher_embeddings=True, skip_broken=False)
            logits = dataset[3]['data_samples'].proposals.objectness_logits
            assert logits.tolist() == logits_of(3).tolist()
            message = rf'{path}, row 3: the checksum differs.*Make it: .*--overwrite'
            with pytest.raises(OSError, match=message):
                dataset[6]


def test_missing_files_name_the_command(shards: Path) -> None:
    os.remove(shards / 'p' / '00001.teacher.npz')
    assert len(make(shards)) == 7
    message = r"1 of 2 shards have no teacher's embeddings, e\.g\. no file \S+/00001\.teacher\.npz"
    with pytest.raises(FileNotFoundError, match=rf'{message}\. {COMMAND} --teacher'):
        make(shards, teacher_embeddings=True)
    os.remove(shards / 'p' / '00000.proposals.npz')
    message = r'1 of 2 shards have no proposals, e\.g\. no file \S+/p/00000\.proposals\.npz'
    with pytest.raises(FileNotFoundError, match=rf'{message}\. {COMMAND}'):
        make(shards)


def test_a_folder_elsewhere_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match=r's3://p must be a folder on a disk .* absolute path'):
        make(shards, proposals='s3://p')


def test_files_of_other_pairs_are_refused(shards: Path) -> None:
    made.write_shards(shards, [3, 5])
    message = r"has no proposals for 1 of 5 pairs of \S+/00001\.tar, e\.g\. of '000000007'"
    with pytest.raises(ValueError, match=message):
        make(shards)


def test_files_that_were_made_differently_are_refused(shards: Path) -> None:
    store(shards, out='other', fingerprint=dict(weights='xyz', num=9))
    os.replace(shards / 'other' / '00001.proposals.npz', shards / 'p' / '00001.proposals.npz')
    with pytest.raises(
        ValueError, match=r'00001\.proposals\.npz was created with.*: weights'
    ):
        make(shards)


def test_embeddings_of_other_boxes_are_refused(shards: Path) -> None:
    os.replace(shards / 'p' / '00000.teacher.npz', shards / 'p' / '00001.teacher.npz')
    store_back = shards / 'p' / '00000.teacher.npz'
    store_back.write_bytes((shards / 'p' / '00001.teacher.npz').read_bytes())
    with pytest.raises(ValueError, match=r'00001\.teacher\.npz holds 3 embeddings of other boxes'):
        make(shards, teacher_embeddings=True)


def test_shards_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ('a', 'b'):
        made.write_shards(tmp_path / folder, [1])
    with pytest.raises(ValueError, match=r'a/00000\.tar and \S+b/00000\.tar would have the same'):
        ImageTextShards(['a/*.tar', 'b/*.tar'], data_root=str(tmp_path), proposals='p', pipeline=[])


def test_places_are_numpys(tmp_path: Path) -> None:
    """Read at the places found, arrays are what numpy reads."""
    fields = [(f'field{i}', 'f4') for i in range(300)]
    arrays = dict(numbers=np.arange(1000), records=np.ones(2, fields), matrix=np.eye(3))
    np.savez(tmp_path / 'a.npz', **arrays)
    content = (tmp_path / 'a.npz').read_bytes()
    for name, place in array_places(tmp_path / 'a.npz').items():
        count = int(np.prod(place.shape))
        found = np.frombuffer(content, place.dtype, count, place.offset).reshape(place.shape)
        np.testing.assert_array_equal(found, arrays[name])
    assert place.rows(1, 3) == (place.offset + 24, 48)  # of the matrix
    np.savez(tmp_path / 'b.npz', objects=np.array([None, 'x'], dtype=object))
    with pytest.raises(ValueError, match=r'objects\.npy is no plain array'):
        array_places(tmp_path / 'b.npz')
