# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Known damage: what is said to be left is what the dataset finds and can decode."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from checks.pretraining.shards import Damage, damage_shards, image_id, read_pairs
from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextShards

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'captions')),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six shards of ten pairs; images are PNG files, whatever their names say."""
    for shard in range(6):
        pairs = [made.pair(number) for number in range(10 * shard, 10 * shard + 10)]
        members = [(n.replace('.png', '.jpg'), content) for pair in pairs for n, content in pair]
        made.write_tar(tmp_path / f'{shard:05d}.tar', members)
    return tmp_path


def test_what_is_left(folder: Path) -> None:
    init_default_scope('mmdet')
    whole = {path.name: read_pairs(path) for path in folder.glob('*.tar')}
    damage = damage_shards(folder, keep=7)
    # shards 0, 1, 3 and 4 of six; the pair in the middle of ten
    assert damage.unusable == [('00000.tar', '000000005'), ('00001.tar', '000000015')]
    assert damage.undecodable == {('00003.tar', '000000035'): 'caption 35'}
    assert damage.truncated == ('00004.tar', '000000047')
    assert damage.lost == [('00004.tar', f'{number:09d}') for number in (47, 48, 49)]
    assert len(damage.good) == 60 - 3 - 3
    dataset = ImageTextShards(
        '*.tar', data_root=str(folder), pipeline=PIPELINE, skip_broken=False, max_broken_share=1.0
    )
    found, undecodable = {}, []
    for number in range(len(dataset)):
        try:
            sample = dataset[number]['data_samples']
        except OSError:
            undecodable.append(dataset.get_data_info(number)['img_id'])
        else:
            found[sample.img_id] = sample.captions
    assert found == {image_id(pair): [text] for pair, text in damage.good.items()}
    assert undecodable == list(map(image_id, damage.undecodable))
    broken = [(Path(shard).name, key, why) for shard, key, why in dataset.broken_pairs()]
    assert broken == [
        ('00000.tar', '000000005', 'empty caption'),
        ('00001.tar', '000000015', 'image without .txt or .json'),
        ('00004.tar', '', 'truncated in 000000047.jpg'),
    ]
    # nothing else was touched
    for name in ('00002.tar', '00005.tar'):
        assert read_pairs(folder / name) == whole[name]


def test_it_is_kept_in_a_file(folder: Path) -> None:
    damage = damage_shards(folder, keep=2)
    damage.save(folder / 'damage.json')
    assert Damage.load(folder / 'damage.json') == damage
    assert sorted(damage.captions) == sorted([*damage.good.values(), 'caption 35'])
