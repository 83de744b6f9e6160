# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Looking into shards: counts, and which pairs are broken."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.datasets.preparation import inspect_image_text

TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'inspect_image_text.py'
BROKEN = {'00000.tar': [1], '00001.tar': [5, 7]}


@pytest.fixture()
def shards(tmp_path: Path) -> Path:
    """Pairs 0 to 3 and 4 to 8; three images are half a file, one pair has no caption."""
    damaged = sum(BROKEN.values(), [])
    for name, numbers in (('00000.tar', range(4)), ('00001.tar', range(4, 9))):
        members = [('sub/lost.png', made.image(0))] if name == '00001.tar' else []
        for number in numbers:
            (image, content), *rest = made.pair(number)
            content = content[: -len(content) // 3] if number in damaged else content
            members += [(image, content), *rest]
        made.write_tar(tmp_path / name, members)
    return tmp_path


def dataset(folder: Path, **options: object) -> ImageTextShards:
    return ImageTextShards('*.tar', data_root=str(folder), max_broken_share=1.0, **options)


@pytest.mark.parametrize('workers', [0, 2])
def test_counts_and_broken_pairs(shards: Path, workers: int) -> None:
    report = inspect_image_text(dataset(shards), num_workers=workers, progress=False)
    assert report.shard_sizes.tolist() == [4, 5] and report.inspected == 9
    assert report.num_bytes == sum(path.stat().st_size for path in shards.glob('*.tar'))
    sound = [number for number in range(9) if number not in sum(BROKEN.values(), [])]
    assert report.sizes.tolist() == [[8, 6]] * len(sound)
    assert report.image_bytes.tolist() == [len(made.image(number)) for number in sound]
    assert report.words.tolist() == [2] * len(sound) and report.captions.tolist() == [1] * 6
    lines = [line.split('\t') for line in report.broken_lines()]
    expected = [[shard, f'{n:09d}'] for shard, numbers in BROKEN.items() for n in numbers]
    assert [line[:2] for line in lines] == [['00001.tar', 'sub/lost'], *expected]
    assert lines[0][2] == 'image without .txt or .json' and 'truncated' in lines[1][2]
    content = made.pair(9)
    made.write_tar(shards / '00002.tar', [('000000009.png', b'no image'), *content[1:]])
    (*_, last) = inspect_image_text(dataset(shards), progress=False).broken_lines()
    assert last == '00002.tar\t000000009\tUnidentifiedImageError: cannot identify image file'
    text = str(report)
    assert '2 shards, 9 pairs, ' in text and '4 broken pairs or shards' in text
    assert f'{shards}/00001.tar/000000005: ' in text


def test_several_captions_and_samples(shards: Path) -> None:
    report = inspect_image_text(
        dataset(shards, caption_key='alt'), sample=3, decode=False, progress=False
    )
    assert report.inspected == 3 and report.captions.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(report.words, np.full(6, 2))
    # heads alone do not tell that an image is half a file
    assert [key for _, key, _ in report.broken] == ['sub/lost']


def test_the_tool_makes_a_list_that_leaves_them_out(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = [f'{shards}/{{00000..00001}}.tar', '--broken', f'{shards}/broken.tsv']
    monkeypatch.setattr(sys, 'argv', ['inspect_image_text', *arguments])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '9 pairs looked into' in capsys.readouterr().out
    left = dataset(shards, exclude='broken.tsv', pipeline=[dict(type='LoadImageChecked')])
    numbers = [made.number_in(left[i]['img']) for i in range(len(left))]
    assert numbers == [0, 2, 3, 4, 6, 8] and left.num_broken == 0
    monkeypatch.setattr(sys, 'argv', ['inspect_image_text', f'{shards}/none.tar'])
    with pytest.raises(SystemExit, match=r'none\.tar'):
        runpy.run_path(str(TOOL), run_name='__main__')
