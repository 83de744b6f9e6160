# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of shards: braces, wildcards, lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from regionclip_mmdet.datasets.shards.paths import expand_braces, find_shards


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('a.tar', ['a.tar']),
        ('{00008..00011}.tar', ['00008.tar', '00009.tar', '00010.tar', '00011.tar']),
        ('{8..11}', ['8', '9', '10', '11']),
        ('{08..100}', [f'{n:03d}' for n in range(8, 101)]),
        ('{0..2}', ['0', '1', '2']),
        ('{a,b}/{1..2}.tar', ['a/1.tar', 'a/2.tar', 'b/1.tar', 'b/2.tar']),
        ('x{7..7}y', ['x7y']),
        ('{a,}.tar', ['a.tar', '.tar']),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


def test_thousands() -> None:
    names = expand_braces('{00000..12345}.tar')
    assert len(set(names)) == 12346 and names[-1] == '12345.tar'


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('{3..1}', 'runs backwards'),
        ('{abc}', 'neither a range'),
        ('{}', 'neither a range'),
        ('{0..1', 'partner'),
        ('a}', 'partner'),
        ('{a,{b,c}}', 'partner'),
    ],
)
def test_braces_that_mean_nothing(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand_braces(pattern)


def test_files(tmp_path: Path) -> None:
    for name in ('b/00000.tar', 'b/00001.tar', 'a/10.tar', 'a/9.tar', 'a/9.json'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_shards(['b/{00000..00001}.tar', 'a/*.tar'], str(tmp_path))
    names = ['b/00000.tar', 'b/00001.tar', 'a/10.tar', 'a/9.tar']
    assert found == [str(tmp_path / name) for name in names]
    assert find_shards(str(tmp_path / 'a/9.tar'), '/elsewhere') == [str(tmp_path / 'a/9.tar')]
    with pytest.raises(FileNotFoundError, match=r'2 of 4 shards .*00002\.tar.*pattern'):
        find_shards('b/{00000..00003}.tar', str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'nothing-\*\.tar'):
        find_shards(['a/9.tar', 'nothing-*.tar'], str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no shard was named'):
        find_shards([], str(tmp_path))
    with pytest.raises(ValueError, match=r'1 shards are named more than once, e\.g\. .*a/9\.tar'):
        find_shards(['a/9.tar', 'b/../a/9.tar'], str(tmp_path))


def test_folders_with_brackets(tmp_path: Path) -> None:
    folder = tmp_path / 'v[1]{x}'
    folder.mkdir()
    (folder / '0.tar').touch()
    for pattern in ('*.tar', '{0..0}.tar', '0.tar'):
        assert find_shards(pattern, str(folder)) == [str(folder / '0.tar')]
