# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Damaged shards: what is whole is read right and the rest reported, or an error names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import damaged_shards as damaged
from fuzz.time_limit import time_limit
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextDataset, ImageTextShards, ImageTextTSV
from regionclip_mmdet.datasets.shards.proposal_format import (
    read_meta,
    write_proposals,
    write_teacher,
)

pytestmark = pytest.mark.slow
CASES = int(os.environ.get('FUZZ_CASES', '400'))  # of each target
# Of ours; KeyError, struct.error and so on are somebody's surprise.
OURS = (ValueError, TypeError, OSError)
LOAD = [dict(type='LoadImageChecked')]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Hundreds of warnings are right here."""
    init_default_scope('mmdet')
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('CRITICAL')
    yield
    logger.setLevel(level)


def built(kind: type, case: int, folder: Path, **options: Any) -> Any:
    """A dataset; None if it was refused by an error of ours that names a file of the folder."""
    try:
        return kind(data_root=str(folder), skip_broken=False, pipeline=LOAD, **options)
    except OURS as error:
        assert type(error) in {*OURS, FileNotFoundError}, (case, error)
        assert str(folder) in str(error) and len(str(error)) < 3000, (case, error)


def read_pairs(case: int, dataset: Any) -> dict[int, bool]:
    """Pairs that can be read, by the number in their key; whether pixels and caption are right."""
    found = {}
    for idx in range(len(dataset)):
        name = os.path.basename(dataset.image_name(idx)).split('.')[0].removeprefix('k')
        number = int(name) if name.isdecimal() else None
        try:
            item = dataset[idx]
            captions = dataset.get_data_info(idx)['captions']
        except OSError as error:
            assert dataset.image_name(idx).split('/')[-2] in str(error), (case, error)
            continue
        if number is None:
            continue
        pixels = item['img']
        same = (pixels == pixels[0, 0]).all() and captions == [f'caption {number}']
        found[number] = bool(same and made.number_in(pixels) == number)
    return found


def check(
    case: int, dataset: Any, wanted: set[int], damaged_ones: set[int], told: bool = True
) -> None:
    """Whole pairs are right; if anything else is missing, something is reported (``told``)."""
    found = read_pairs(case, dataset)
    missing = wanted - damaged_ones - {number for number, right in found.items() if right}
    assert not missing, (case, missing, dataset.broken_pairs())
    if told and wanted - found.keys():
        unreadable = len(dataset) > len(found)
        assert dataset.broken_pairs() or unreadable, (case, wanted - found.keys())


def test_tars(tmp_path: Path) -> None:
    refused = 0
    for case in range(CASES):
        rng = np.random.default_rng(case)
        shards = [damaged.Shard(range(6)), damaged.Shard(range(6, 12))]
        number = int(rng.integers(1, 3))
        for _ in range(number):
            damaged.damage_tar(rng, shards[rng.integers(2)], alone=number == 1)
        joined = rng.random() < 0.5
        folder = tmp_path / str(case)
        folder.mkdir()
        contents = [shard.content() for shard in shards]
        for number, content in enumerate([b''.join(contents)] if joined else contents):
            (folder / f'{number}.tar').write_bytes(content)
        lost = shards[0].damaged | shards[1].damaged
        if joined and shards[0].damaged:  # its end may take in what comes behind
            lost |= {6}
        with time_limit(case):
            dataset = built(ImageTextShards, case, folder, shards='*.tar', max_broken_share=1.0)
            if dataset is not None:
                told = not any(shard.looks_whole for shard in shards)
                check(case, dataset, set(range(12)), lost, told)
        refused += dataset is None
        shutil.rmtree(folder)
    assert refused < CASES / 10


def test_tsv_files(tmp_path: Path) -> None:
    read = 0
    for case in range(CASES):
        rng = np.random.default_rng(case)
        images, texts = damaged.tsv_rows(range(8))
        which = int(rng.integers(3))
        lost = damaged.damage_rows(rng, (images, texts)[which]) if which < 2 else set()
        folder = tmp_path / str(case)
        folder.mkdir()
        (folder / 'images_0.tsv').write_bytes(b''.join(images))
        (folder / 'text_0.tsv').write_bytes(b''.join(texts))
        if which == 2 or rng.random() < 0.3:
            starts = np.cumsum([0, *map(len, images[:-1])])
            offsets = ''.join(f'{start}\n' for start in starts).encode()
            (folder / 'images_0.lineidx').write_bytes(damaged.damage_bytes(rng, offsets))
        with time_limit(case):
            options = dict(shards='images_0.tsv', max_broken_share=1.0)
            dataset = built(ImageTextTSV, case, folder, **options)
            if dataset is None:
                assert which < 2, case
            else:
                check(case, dataset, set(range(8)), lost)
                read += 1
        shutil.rmtree(folder)
    assert read > CASES / 2


def test_kept_indices(tmp_path: Path) -> None:
    """Whatever they are, the dataset is the same."""
    folder = made.write_shards(tmp_path, [9])
    kept = folder / '00000.tar.index.npz'
    wanted = built(ImageTextShards, -1, folder, shards='*.tar').indices[0]
    whole = kept.read_bytes()
    for case in range(CASES):
        kept.write_bytes(damaged.damage_bytes(np.random.default_rng(case), whole))
        with time_limit(case):
            found = built(ImageTextShards, case, folder, shards='*.tar').indices[0]
        for name in ('names', 'images', 'texts', 'is_json'):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), str(case))
        assert (found.broken, found.damage) == ([], ''), case


def test_stored_proposals(tmp_path: Path) -> None:
    """A pair's are right, or an error names the file, when the dataset is built or when read."""
    folder = made.write_shards(tmp_path, [6])
    index = built(ImageTextShards, -1, folder, shards='*.tar').indices[0]
    rng = np.random.default_rng(0)
    boxes = [rng.random((n, 4), dtype=np.float32) for n in (30, 0, 10, 50, 20, 40)]
    logits = [rng.random(len(part), dtype=np.float32) for part in boxes]
    vectors = [rng.random((len(part), 3), dtype=np.float32) for part in boxes]
    paths = [folder / 'p' / f'00000.{kind}.npz' for kind in ('proposals', 'teacher')]
    write_proposals(paths[0], index, boxes, logits, dict(a=1), {})
    meta = read_meta(str(paths[0]), '')[1]
    write_teacher(paths[1], vectors, 3, meta['boxes_sha256'], dict(b=1))
    whole = [path.read_bytes() for path in paths]
    read = 0
    for case in range(CASES):
        rng = np.random.default_rng(case)
        which = int(rng.integers(2))
        paths[which].write_bytes(damaged.damage_bytes(rng, whole[which]))
        with time_limit(case):
            options = dict(shards='*.tar', proposals='p', teacher_embeddings=True)
            dataset = built(ImageTextShards, case, folder, **options)
            for number in range(6 if dataset is not None else 0):
                try:
                    found = dataset._stored.of(0, number)
                except OSError as error:
                    assert paths[which].name in str(error), (case, error)
                    continue
                read += 1
                for key, parts in (
                    ('normalized_bboxes', boxes),
                    ('objectness_logits', logits),
                    ('teacher_embeddings', vectors),
                ):
                    np.testing.assert_array_equal(found[key], parts[number], str(case))
        paths[which].write_bytes(whole[which])
    assert read > CASES


def test_caption_lines(tmp_path: Path) -> None:
    rows = [dict(image=f'{n}.jpg', captions=['a', 'b'], id=n, height=8, width=9) for n in range(5)]
    whole = '\n'.join(map(json.dumps, rows)).encode()
    odd = [
        b'[' * 90_000,
        b'1' * 5000,
        b'"\\udfff"',
        b'1e999',
        b'{}',
        b'null',
        b'[[]]',
        b'"\\u0000"',
    ]
    read = 0
    for case in range(CASES):
        rng = np.random.default_rng(case)
        content = damaged.damage_bytes(rng, whole)
        if rng.random() < 0.5:
            value = (b'"a"', b'8', b'["a", "b"]', b'"1.jpg"', b'3')[rng.integers(5)]
            content = whole.replace(value, odd[rng.integers(len(odd))], int(rng.integers(1, 9)))
        (tmp_path / 'c.jsonl').write_bytes(content)
        with time_limit(case):
            dataset = built(
                ImageTextDataset, case, tmp_path, ann_file='c.jsonl', serialize_data=False
            )
            for idx in range(0 if dataset is None else len(dataset)):
                item = dataset.get_data_info(idx)
                json.dumps(item, ensure_ascii=False).encode()
                assert all(item['captions']) and item['img_path']
                read += 1
    assert read > CASES / 4


def test_lists_of_exclusions(tmp_path: Path) -> None:
    folder = made.write_shards(tmp_path, [6])
    whole = b''.join(b'00000.tar\t%09d\twhy\n' % n for n in (1, 2, 4))
    for case in range(CASES):
        rng = np.random.default_rng(case)
        (folder / 'out.tsv').write_bytes(damaged.damage_bytes(rng, whole))
        with time_limit(case):
            dataset = built(ImageTextShards, case, folder, shards='*.tar', exclude='out.tsv')
        assert dataset is None or {0, 3, 5} <= {
            int(dataset.indices[0].key(row)) for row in range(len(dataset))
        } | {int(n) for n in (0, 3, 5) if b'%09d' % n in (folder / 'out.tsv').read_bytes()}
