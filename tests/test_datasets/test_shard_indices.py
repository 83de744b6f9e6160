# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Indices of shards: made once, kept, checked."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import generated_shards as made
from helpers.shard_datasets import captions, make, messages
from regionclip_mmdet.datasets.shards import image_text_shards


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
        assert captions(make(folder)) == [['caption 5'], ['caption 6']]

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
