# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of concept pools, ours and official ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from regionclip_mmdet.concepts import compare_pools, read_pool, split_count, write_pool
from regionclip_mmdet.recipes.name_lists import read_names


@pytest.mark.parametrize(
    ('line', 'name', 'count'),
    [
        ('cat', 'cat', None),
        (' fire truck \n', 'fire truck', None),
        ('fire truck\t12', 'fire truck', 12),
        ('man,98765\n', 'man', 98765),
        ('man , 5', 'man', 5),
        ('bow, arrow', 'bow, arrow', None),
        ('boeing 747', 'boeing 747', None),
        ('747', '747', None),
        (',5', ',5', None),
        ('  ', '', None),
    ],
)
def test_lines(line: str, name: str, count: int | None) -> None:
    assert split_count(line) == (name, count)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'pool.txt'
    pool = {'fire truck': 12, 'café': 3}
    write_pool(pool, path)
    assert path.read_bytes() == 'fire truck\t12\ncafé\t3\n'.encode()
    assert read_pool(path) == pool
    assert read_names(str(path)) == ('fire truck', 'café')
    assert [p.name for p in path.parent.iterdir()] == ['pool.txt']


def test_official_files(tmp_path: Path) -> None:
    path = tmp_path / 'coco_nouns_3.txt'
    path.write_text('man,120\ntennis racket,110\nzoo,100\n')
    assert read_pool(path) == {'man': 120, 'tennis racket': 110, 'zoo': 100}
    assert read_names(str(path)) == ('man', 'tennis racket', 'zoo')


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / 'pool.txt'
    with pytest.raises(FileNotFoundError, match='no concept pool .*build_concept_pool.py'):
        read_pool(path)
    for content, message in (
        (b'\n\n', 'holds no names'),
        (b'caf\xe9\n', 'not UTF-8'),
        (b'cat\t3\n\ncat,4\n', "line 3: 'cat' occurs twice"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_pool(path)


def test_overlap() -> None:
    found = compare_pools({'cat': 9, 'TV': 5, 'kite': 4, 'bus': 1}, {'tv': 7, 'ski': 2, 'cat': 1})
    assert found.common == ('cat', 'TV')
    assert found.only_first == ('kite', 'bus')
    assert found.only_second == ('ski',)
    text = str(found)
    assert 'in both: 2, which is 50.0% of the first (4) and 66.7% of the second (3)' in text
    assert 'only in the first: kite, bus' in text and 'only in the second: ski' in text
    many = str(compare_pools([f'n{i}' for i in range(25)] + ['cat'], ['cat']))
    assert 'n19 and 5 more' in many and 'only in the second' not in many
