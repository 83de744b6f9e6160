# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Shards behind mmengine's file backends: fetched once, kept in a folder of limited size."""

from __future__ import annotations

import errno
import fcntl
import functools
import http.server
import json
import logging
import multiprocessing
import os
import runpy
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from helpers import generated_shards as made
from regionclip_mmdet.datasets import (
    BrokenImageError,
    ImageTextShards,
    ImageTextTSV,
    ShardSampler,
)
from regionclip_mmdet.datasets.preparation import inspect_image_text
from regionclip_mmdet.datasets.shards import shard_files
from regionclip_mmdet.datasets.shards.shard_files import lock_file

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_id', 'text')),
]


class Store(BaseStorageBackend):
    """A folder behind ``store://``; writes down what was asked of it, by whatever process."""

    root: Path
    out_of_order = False
    pause = 0.0

    def get(self, filepath: str) -> bytes:
        name = filepath.removeprefix('store://')
        with open(self.root.parent / 'asked.txt', 'a') as file:
            file.write(f'{name}\n')
        threading.Event().wait(self.pause)
        if self.out_of_order:
            raise ConnectionError('no route')
        return (self.root / name).read_bytes()

    def put(self, obj: bytes, filepath: str) -> None:
        (self.root / filepath.removeprefix('store://')).write_bytes(obj)

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        return self.get(filepath).decode(encoding)

    def list_dir_or_file(
        self, dir_path: str, list_dir: bool = True, recursive: bool = False
    ) -> Iterator[str]:
        assert not list_dir and not recursive
        yield from reversed(sorted(os.listdir(self.root / dir_path.removeprefix('store://'))))


@pytest.fixture()
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of the store; ``asked.txt`` beside it."""
    register_backend('store', Store, force=True, prefixes='store')
    monkeypatch.setattr(Store, 'root', tmp_path / 'store', raising=False)
    monkeypatch.setattr(shard_files.time, 'sleep', lambda seconds: None)
    return tmp_path / 'store'


def asked(store: Path) -> Counter[str]:
    """Number of times that each file was asked for since the last call."""
    path = store.parent / 'asked.txt'
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text('')
    return Counter(lines)


def remote(store: Path, shards: Any = '*.tar', **changes: Any) -> ImageTextShards:
    options = dict(pipeline=PIPELINE, copy_dir=str(store.parent / 'copies')) | changes
    return ImageTextShards(shards, data_root='store://a', **options)


def numbers(dataset: Any) -> list[int]:
    return [made.number_in(dataset[i]['inputs']) for i in range(len(dataset))]


def copies(store: Path) -> list[str]:
    files = (store.parent / 'copies').glob('*.tar')
    return sorted(path.name.partition('.')[2] for path in files)


def test_shards_are_fetched_once(store: Path) -> None:
    made.write_shards(store / 'a', [3, 1, 5])
    dataset = remote(store)
    assert dataset.shards == [f'store://a/0000{i}.tar' for i in range(3)]
    assert numbers(dataset) == list(range(9))
    assert dataset[3]['data_samples'].img_id == '00001.tar/000000003'
    shards = {f'a/0000{i}.tar': 1 for i in range(3)}
    assert asked(store) == shards | {f'{name}.index.npz': 1 for name in shards}
    again = remote(store)
    assert numbers(again) == list(range(9)) and not asked(store)
    for copy in (store.parent / 'copies').glob('*.tar'):
        copy.unlink()
    # indices alone: nothing is fetched until a sample is wanted
    third = remote(store)
    assert len(third) == 9 and third.get_subset(4).get_data_info(0)['captions'] == ['caption 0']
    assert asked(store) == {'a/00000.tar': 1}


def test_indices_beside_the_shards(store: Path) -> None:
    """Made where the shards were local, uploaded with them."""
    made.write_shards(store / 'a', [3, 2])
    assert len(ImageTextShards('*.tar', data_root=str(store / 'a'))) == 5
    for shard in (store / 'a').glob('*.tar'):
        os.utime(shard, ns=(1, 1))  # another time of modification there
    dataset = remote(store, '{00000..00001}.tar')
    assert len(dataset) == 5
    assert asked(store) == {f'a/0000{i}.tar.index.npz': 1 for i in range(2)}
    assert made.number_in(dataset[4]['inputs']) == 4
    assert asked(store) == {'a/00001.tar': 1}


def test_nothing_is_written_to_a_prepared_folder_of_indices(store: Path) -> None:
    made.write_shards(store / 'a', [3, 2])
    indices = store.parent / 'indices'
    assert len(remote(store, cache_dir=str(indices))) == 5
    asked(store)
    dataset = remote(store, cache_dir=str(indices), copy_dir=str(store.parent / 'others'))
    assert len(dataset) == 5 and not asked(store)
    assert sorted(path.suffix for path in indices.iterdir()) == ['.npz', '.npz']


def test_room_is_limited(store: Path) -> None:
    made.write_shards(store / 'a', [4] * 5)
    size = (store / 'a' / '00000.tar').stat().st_size
    dataset = remote(store, copy_gb=2.5 * size / 1e9)
    assert copies(store) == ['00003.tar', '00004.tar']
    for copy in (store.parent / 'copies').glob('*.tar'):
        copy.unlink()
    asked(store)
    # somebody else's: stays, does not count
    (store.parent / 'copies' / 'my.own.tar').write_bytes(b'x' * 9 * size)
    for shard, there in ((0, {0}), (1, {0, 1}), (0, {0, 1}), (2, {0, 2}), (3, {2, 3})):
        assert made.number_in(dataset[4 * shard]['inputs']) == 4 * shard
        assert copies(store) == [*(f'{i:05d}.tar' for i in sorted(there)), 'own.tar']
    assert asked(store) == {f'a/{i:05d}.tar': 1 for i in range(4)}
    with pytest.raises(RuntimeError, match=r'more than copy_gb='):
        remote(store, copy_gb=0.5 * size / 1e9)[16]


def test_a_pass_fetches_each_shard_once(store: Path) -> None:
    """With room for the shards in use at a time, though there are three times as many."""
    made.write_shards(store / 'a', [20] * 6)
    size = (store / 'a' / '00000.tar').stat().st_size
    dataset = remote(store, copy_gb=2.5 * size / 1e9)
    for copy in (store.parent / 'copies').glob('*.tar'):
        copy.unlink()
    asked(store)
    order = list(ShardSampler(dataset, buffer_shards=2, seed=0))
    assert [made.number_in(dataset[i]['inputs']) for i in order] == order
    assert asked(store) == {f'a/{i:05d}.tar': 1 for i in range(6)}
    # the same samples in an order that knows nothing of shards
    mixed = np.random.default_rng(0).permutation(120).tolist()
    assert [made.number_in(dataset[i]['inputs']) for i in mixed] == mixed
    assert asked(store).total() > 30


def test_what_is_being_read_stays(store: Path) -> None:
    made.write_shards(store / 'a', [4] * 3)
    size = (store / 'a' / '00000.tar').stat().st_size
    dataset = remote(store, copy_gb=1.5 * size / 1e9)
    with dataset.files.held(dataset.shards[0]) as copy:
        assert numbers(dataset.get_subset(range(4, 12))) == list(range(4, 12))
        assert Path(copy).read_bytes() == (store / 'a' / '00000.tar').read_bytes()
    dataset[4]
    assert copies(store) == ['00001.tar']


def test_too_little_room_is_told(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    made.write_shards(store / 'a', [4] * 2)
    size = (store / 'a' / '00000.tar').stat().st_size
    dataset = remote(store, copy_gb=1.5 * size / 1e9)
    logger = MMLogger.get_instance('remote_shards')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        assert numbers(dataset.get_subset([0, 4, 1, 5, 2])) == [0, 4, 1, 5, 2]
    logger.removeHandler(caplog.handler)
    (text,) = [r.getMessage() for r in caplog.records if 'fetched again' in r.getMessage()]
    assert 'store://a/0000' in text and 'copy_gb=' in text and 'buffer_shards' in text


def test_an_interrupted_fetch_is_done_again(store: Path) -> None:
    made.write_shards(store / 'a', [4])
    dataset = remote(store)
    copy = Path(dataset.files.copy_path(dataset.shards[0]))
    whole = copy.read_bytes()
    copy.unlink()
    for left in (f'{copy}.being-written', f'{copy}.a1_b2c3d.being-written'):
        Path(left).write_bytes(whole[:700])
    assert numbers(dataset) == [0, 1, 2, 3] and copy.read_bytes() == whole
    assert not list(copy.parent.glob('*.being-written'))
    copy.write_bytes(whole[:700])  # another length than the index knows
    assert numbers(dataset) == [0, 1, 2, 3]


def test_what_an_interrupted_fetch_left_makes_room(store: Path) -> None:
    made.write_shards(store / 'a', [4] * 2)
    size = (store / 'a' / '00000.tar').stat().st_size
    dataset = remote(store, copy_gb=1.5 * size / 1e9)
    copy = Path(dataset.files.copy_path(dataset.shards[0]))
    for path in copy.parent.glob('*.tar'):
        path.unlink()
    left = Path(f'{copy}.a1_b2c3d.being-written')
    left.write_bytes(bytes(size))
    with lock_file(str(copy)) as handle:  # it is being written still
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert made.number_in(dataset[4]['inputs']) == 4
        assert left.exists()
    Path(dataset.files.copy_path(dataset.shards[1])).unlink()
    assert made.number_in(dataset[4]['inputs']) == 4
    assert not left.exists()


def test_a_disk_that_is_full_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write_shards(store / 'a', [4])
    dataset = remote(store, skip_broken=False)
    copy = Path(dataset.files.copy_path(dataset.shards[0]))
    copy.unlink()

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match=rf'{copy} could not be written: No space.*copy_gb'):
        dataset[0]
    assert not list(copy.parent.glob('*.being-written'))


def test_a_shard_that_was_changed_is_named(store: Path) -> None:
    made.write_shards(store / 'a', [4, 4])
    dataset = remote(store, skip_broken=False)
    Path(dataset.files.copy_path(dataset.shards[1])).unlink()
    made.write_shards(store / 'a', [4, 9])
    with pytest.raises(BrokenImageError, match=r'00001\.tar.* when it was indexed.*remove its ind'):
        dataset[5]
    assert made.number_in(dataset[3]['inputs']) == 3


def test_a_store_out_of_order(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write_shards(store / 'a', [4, 4])
    with pytest.raises(OSError, match=r'a/00002\.tar cannot be fetched \(FileNotFoundError'):
        remote(store, '{00000..00002}.tar')
    dataset = remote(store, '{00000..00001}.tar', skip_broken=False)
    Path(dataset.files.copy_path(dataset.shards[1])).unlink()
    asked(store)
    monkeypatch.setattr(Store, 'out_of_order', True)
    for _ in range(3):
        with pytest.raises(BrokenImageError, match=r'a/00001\.tar cannot be fetched \(Conn'):
            dataset[5]
    # three tries at first, then none for a while
    assert asked(store) == {'a/00001.tar': shard_files.TRIES}
    assert made.number_in(dataset[3]['inputs']) == 3
    monkeypatch.setattr(Store, 'out_of_order', False)
    monkeypatch.setattr(shard_files, 'REST', -1.0)
    assert made.number_in(dataset[5]['inputs']) == 5


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_share_copies(store: Path, workers: int) -> None:
    made.write_shards(store / 'a', [6] * 4)
    dataset = remote(store)
    for copy in (store.parent / 'copies').glob('*.tar'):
        copy.unlink()
    asked(store)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=list)
    found = [made.number_in(sample['inputs']) for batch in loader for sample in batch]
    assert found == list(range(24))
    assert asked(store) == {f'a/{i:05d}.tar': 1 for i in range(4)}


def _read_all(store: Path, limit: float, queue: Any) -> None:
    queue.put(numbers(remote(store, copy_gb=limit)))


def test_processes_that_begin_together(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is fetched once though all want it; with little room still all is read right."""
    made.write_shards(store / 'a', [5] * 4)
    size = (store / 'a' / '00000.tar').stat().st_size
    monkeypatch.setattr(Store, 'pause', 0.02)  # all ask before the first has its answer
    context = multiprocessing.get_context('fork')
    shards = [f'a/{i:05d}.tar' for i in range(4)]
    expected = Counter([*shards, *(f'{name}.index.npz' for name in shards)])
    for limit in (1.0, 1.0, 1.5 * size / 1e9):
        queue = context.Queue()
        processes = [
            context.Process(target=_read_all, args=(store, limit, queue)) for _ in range(3)
        ]
        for process in processes:
            process.start()
        results = [queue.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert results == [list(range(20))] * 3
        assert limit != 1.0 or asked(store) == expected
        for path in (store.parent / 'copies').glob('*.tar'):
            path.unlink()
        expected = Counter(shards)  # the indices stay
        assert not list((store.parent / 'copies').glob('*.being-written'))


def test_a_lock_is_waited_for(store: Path) -> None:
    made.write_shards(store / 'a', [2])
    dataset = remote(store)
    copy = dataset.files.copy_path(dataset.shards[0])
    found: list[int] = []
    with lock_file(copy) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: found.extend(numbers(dataset)))
        thread.start()
        thread.join(0.2)
        assert not found
    thread.join(10)
    assert found == [0, 1]


@pytest.mark.parametrize('options', [[], ['--processes', '2']])
def test_indices_made_beforehand(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, options: list[str]
) -> None:
    made.write_shards(store / 'a', [3, 2])
    made.write_tar(store / 'a' / '00002.tar', [*made.pair(5), ('x.png', made.image(6))])
    tool = Path(__file__).parents[2] / 'tools' / 'data' / 'index_shards.py'
    arguments = ['index_shards', 'store://a/*.tar', '--copy-dir', str(store.parent / 'first')]
    monkeypatch.setattr(sys, 'argv', [*arguments, *options, '--upload'])
    runpy.run_path(str(tool), run_name='__main__')
    out = capsys.readouterr().out
    assert '3 shards, 6 pairs, 1 broken ones' in out and '3 indices uploaded' in out
    asked(store)
    # on another machine
    dataset = remote(store, max_broken_share=1.0)
    assert asked(store) == {f'a/0000{i}.tar.index.npz': 1 for i in range(3)}
    assert numbers(dataset) == list(range(6))
    monkeypatch.setattr(sys, 'argv', ['index_shards', f'{store}/a/*.tar', *options])
    runpy.run_path(str(tool), run_name='__main__')
    assert '3 shards, 6 pairs, 1 broken ones' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['index_shards', f'{store}/none/*.tar', *options])
    with pytest.raises(SystemExit, match=r'none/\*\.tar'):
        runpy.run_path(str(tool), run_name='__main__')


def test_tsv_files(store: Path) -> None:
    made.write_tsv(store / 'a', 0, [3, 4], ['a dog', json.dumps(dict(captions=['x', 'y']))])
    options = dict(data_root='store://a', copy_dir=str(store.parent / 'c'), pipeline=PIPELINE)
    dataset = ImageTextTSV('images_*.tsv', **options)
    assert numbers(dataset) == [3, 4] and dataset.get_data_info(1)['captions'] == ['x', 'y']


def test_lists_of_broken_pairs_and_inspection(store: Path) -> None:
    made.write_shards(store / 'a', [3])
    (store / 'a' / 'broken.tsv').write_text('00000.tar\t000000001\n')
    dataset = remote(store, exclude='broken.tsv')
    assert numbers(dataset) == [0, 2]
    report = inspect_image_text(remote(store), progress=False)
    assert report.num_bytes == (store / 'a' / '00000.tar').stat().st_size
    assert report.inspected == 3


def test_refusals(store: Path) -> None:
    made.write_shards(store / 'a', [1])
    with pytest.raises(ValueError, match=r'store://a/00000\.tar is not local: give .* copy_dir'):
        remote(store, '00000.tar', copy_dir=None)
    with pytest.raises(ValueError, match=r'file:///x/0\.tar: mmengine has no file backend'):
        remote(store, 'file:///x/0.tar')
    with pytest.raises(ValueError, match=r'HTTPBackend cannot list files.*braces'):
        remote(store, 'http://localhost/*.tar')
    with pytest.raises(ValueError, match='wildcards may only stand in the last part'):
        remote(store, 'store://*/0.tar')
    with pytest.raises(FileNotFoundError, match=r'store://a/9\*\.tar'):
        remote(store, '9*.tar')
    with pytest.raises(ValueError, match='named more than once'):
        remote(store, ['00000.tar', '*.tar'])


def test_the_local_backend_reads_in_place(store: Path) -> None:
    made.write_shards(store / 'a', [2])
    dataset = ImageTextShards(
        '*.tar', data_root=str(store / 'a'), backend_args=dict(backend='local'), pipeline=PIPELINE
    )
    assert numbers(dataset) == [0, 1]
    assert (store / 'a' / '00000.tar.index.npz').exists()


def test_a_web_server(store: Path) -> None:
    made.write_shards(store / 'a', [2, 3])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(store))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            dataset = ImageTextShards(
                '{00000..00001}.tar',
                data_root=f'http://127.0.0.1:{server.server_port}/a/',
                copy_dir=str(store.parent / 'copies'),
                pipeline=PIPELINE,
            )
            assert numbers(dataset) == list(range(5))
            with pytest.raises(OSError, match=r'b/00000\.tar cannot be fetched .*404'):
                ImageTextShards(
                    f'http://127.0.0.1:{server.server_port}/b/00000.tar',
                    copy_dir=str(store.parent / 'copies'),
                )
        finally:
            server.shutdown()
