# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Packing images and captions into shards."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.datasets.preparation import pack_shards

TOOL = Path(__file__).parents[2] / 'tools' / 'data' / 'pack_shards.py'
READ = [dict(type='LoadImageChecked')]


def images(folder: Path, number: int) -> list[dict]:
    """Items of so many images, every second one with two captions."""
    folder.mkdir(exist_ok=True)
    items = []
    for i in range(number):
        path = folder / f'{i}.png'
        path.write_bytes(made.image(i))
        captions = [f'caption {i}'] + [f'größer {i}'] * (i % 2)
        items.append(dict(img_path=str(path), captions=captions))
    return items


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def numbers(folder: Path) -> list[int]:
    dataset = ImageTextShards('*.tar', data_root=str(folder), pipeline=READ)
    return [made.number_in(dataset[i]['img']) for i in range(len(dataset))]


def test_what_is_packed_is_read(tmp_path: Path) -> None:
    items = images(tmp_path / 'in', 11)
    report = pack_shards(items, tmp_path / 'out', per_shard=4, progress=False)
    assert str(report) == '11 pairs in 3 shards (0 of them kept as they were)'
    dataset = ImageTextShards(
        '{00000..00002}.tar', data_root=str(tmp_path / 'out'), caption_key='captions'
    )
    assert dataset.shard_starts.tolist() == [0, 4, 8, 11] and not dataset.broken_pairs()
    for i, item in enumerate(items):
        assert dataset.image_bytes(i) == Path(item['img_path']).read_bytes()
        assert dataset.get_data_info(i)['captions'] == item['captions']
        assert dataset.get_data_info(i)['img_id'] == f'{i // 4:05d}.tar/{i:09d}'
    plain = ImageTextShards('*.tar', data_root=str(tmp_path / 'out'))
    assert plain.get_data_info(3)['captions'] == ['caption 3']


def test_mixing(tmp_path: Path) -> None:
    items = images(tmp_path / 'in', 11)
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        pack_shards(items, tmp_path / name, per_shard=4, seed=seed, progress=False)
    assert content(tmp_path / 'a') == content(tmp_path / 'b')
    orders = [numbers(tmp_path / name) for name in 'ac']
    assert orders[0] != orders[1] and all(sorted(order) == list(range(11)) for order in orders)
    assert list(range(11)) not in orders


class Interrupting(list):
    """Items that end the program when one of them is asked for a second time."""

    def __init__(self, items: list, at: int) -> None:
        super().__init__(items)
        self.at, self.asked = at, 0

    def __getitem__(self, number: Any) -> Any:
        self.asked += number == self.at
        if self.asked == 2:
            raise KeyboardInterrupt
        return super().__getitem__(number)


@pytest.mark.parametrize('at', [0, 5, 10])
def test_going_on_after_an_interruption(tmp_path: Path, at: int) -> None:
    items = images(tmp_path / 'in', 11)
    options = dict(per_shard=4, progress=False)
    pack_shards(items, tmp_path / 'straight', **options)
    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        pack_shards(Interrupting(items, at), out, **options)
    done = {path.name: path.stat().st_mtime_ns for path in out.glob('*.tar')}
    assert sorted(done) == [f'{shard:05d}.tar' for shard in range(at // 4)]
    assert not list(out.glob('*.being-written'))
    report = pack_shards(items, out, **options)
    assert (report.kept, report.shards, report.pairs) == (at // 4, 3, 11)
    assert content(out) == content(tmp_path / 'straight')
    assert all((out / name).stat().st_mtime_ns == time for name, time in done.items())


def test_a_shard_without_its_account_is_packed_again(tmp_path: Path) -> None:
    items = images(tmp_path / 'in', 6)
    pack_shards(items, tmp_path / 'out', per_shard=3, progress=False)
    before = content(tmp_path / 'out')
    (tmp_path / 'out' / '00001_stats.json').unlink()
    assert pack_shards(items, tmp_path / 'out', per_shard=3, progress=False).kept == 1
    assert content(tmp_path / 'out') == before


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"pairs": "x"}', b'\xff', b'[' * 99999])
def test_damaged_accounts(tmp_path: Path, content: bytes) -> None:
    """That of a shard is rebuilt with it; the plan of the folder is named."""
    items = images(tmp_path / 'in', 4)
    out = tmp_path / 'out'
    pack_shards(items, out, per_shard=2, progress=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / '00001_stats.json').write_bytes(content)
    assert pack_shards(items, out, per_shard=2, progress=False).kept == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / 'packing.json').write_bytes(content)
    with pytest.raises(ValueError, match=r'out/packing\.json.*Take another folder'):
        pack_shards(items, out, per_shard=2, progress=False)


def test_what_is_left_out(tmp_path: Path) -> None:
    items = images(tmp_path / 'in', 6)
    Path(items[1]['img_path']).unlink()
    Path(items[4]['img_path']).write_bytes(made.image(4)[:40])
    Path(items[2]['img_path']).rename(tmp_path / 'in' / '2.gif')
    items[2]['img_path'] = str(tmp_path / 'in' / '2.gif')
    for check, expected in ((True, [0, 3, 5]), (False, [0, 3, 4, 5])):
        out = tmp_path / f'out_{check}'
        for kept in (0, 2):  # what was left out is known the second time, too
            report = pack_shards(items, out, per_shard=3, check=check, progress=False)
            assert report.kept == kept and report.pairs == len(expected)
            assert report.left_out.total() == 6 - len(expected)
            assert (items[1]['img_path'], 'missing or unreadable') in report.examples
            assert report.left_out['damaged'] == check
        keys = ImageTextShards('*.tar', data_root=str(out))
        ids = [keys.get_data_info(i)['img_id'][-9:] for i in range(len(keys))]
        assert ids == [f'{number:09d}' for number in expected]


def test_folders_of_something_else(tmp_path: Path) -> None:
    items = images(tmp_path / 'in', 4)
    pack_shards(items, tmp_path / 'out', per_shard=2, progress=False)
    with pytest.raises(ValueError, match=r'other pairs or settings: per_shard in .*packing\.json'):
        pack_shards(items, tmp_path / 'out', per_shard=3, progress=False)
    items[0]['captions'] = ['another']
    with pytest.raises(ValueError, match='settings: sha256 in'):
        pack_shards(items, tmp_path / 'out', per_shard=2, progress=False)
    made.write_shards(tmp_path / 'theirs', [2])
    with pytest.raises(ValueError, match='holds shards already'):
        pack_shards(items, tmp_path / 'theirs', progress=False)


def test_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    items = images(tmp_path / 'in', 5)
    rows = [dict(image=Path(i['img_path']).name, captions=i['captions']) for i in items]
    (tmp_path / 'c.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    arguments = [tmp_path / 'c.jsonl', tmp_path / 'out', '--images', tmp_path / 'in']
    arguments += ['--per-shard', 2]

    def run(*more: object) -> None:
        monkeypatch.setattr(sys, 'argv', ['pack_shards', *map(str, [*arguments, *more])])
        runpy.run_path(str(TOOL), run_name='__main__')

    run()
    assert 'out: 5 pairs in 3 shards' in capsys.readouterr().out
    assert numbers(tmp_path / 'out') == [0, 1, 2, 3, 4]
    with pytest.raises(SystemExit, match='not complete: .* other pairs or settings: seed'):
        run('--seed', 1)
