# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Everything that writes a file, on a disk that is really full: one error with path and remedy."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.video_demo import write_video
from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers.disks import mounted
from regionclip_mmdet import fileio
from regionclip_mmdet.apis.results import write_json
from regionclip_mmdet.checkpoints import conversion
from regionclip_mmdet.compat.checkpoints import save_whole
from regionclip_mmdet.datasets.preparation.files import write_all
from regionclip_mmdet.engine.hooks import AtomicLocalBackend
from regionclip_mmdet.evaluation import DumpPredictions
from regionclip_mmdet.features.official_store import write_official
from regionclip_mmdet.features.regions import ImageRegions
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.visualization import OpenVocabVisualizer

SIZE = 256 * 1024
WEIGHTS = dict(weight=torch.arange(2 * SIZE, dtype=torch.float32))


@pytest.fixture()
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with mounted(tmp_path / 'disk', f'size={SIZE}') as folder:
        yield folder


def embeddings(path: Path) -> None:
    matrix = WEIGHTS['weight'].reshape(8, -1)
    TextEmbeddings.from_tensor(matrix, [f'name {row}' for row in range(8)]).save(path)


def official_regions(path: Path) -> None:
    rows = np.zeros(512, dtype=np.int64)
    regions = ImageRegions(
        size=(9, 9),
        boxes=np.zeros((512, 4), np.float32),
        embeddings=np.ones((512, 1024), np.float32),
        objectness=rows.astype(np.float32),
        scores=rows.astype(np.float32),
        labels=rows,
        box_ids=rows,
        top_labels=np.zeros((512, 0), np.int32),
        top_scores=np.zeros((512, 0), np.float32),
    )
    write_official(str(path.parent), str(path.with_suffix('.jpg')), regions, False)


def video(path: Path) -> None:
    rng = np.random.default_rng(0)
    write_video((rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(40)), path, 25)


def drawn(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    OpenVocabVisualizer().add_datasample('x', pixels, out_file=str(path))


WRITERS: dict[str, Callable[[Path], None]] = {
    'a.txt': lambda path: fileio.write_text(path, 'x' * 2 * SIZE),
    'b.json': lambda path: write_json(dict(names=['x' * 2 * SIZE]), path),
    'a.pth': lambda path: save_whole(WEIGHTS, path),
    'c.pth': lambda path: conversion.save(WEIGHTS, {}, path),
    'd.safetensors': lambda path: conversion.save(WEIGHTS, {}, path),
    'e.pth': embeddings,
    'f.json': lambda path: write_all({path: dict(images=['x' * 2 * SIZE])}, progress=False),
    'g.pth': official_regions,
    'h.mp4': video,
    'i.pkl': lambda path: DumpPredictions(str(path)).compute_metrics(['x' * 2 * SIZE]),
    'j.png': drawn,
    'iter_1.pth': lambda path: AtomicLocalBackend().put(bytes(2 * SIZE), path),
    'world': lambda path: make_shapes_world(path, ShapesWorldSpec('scenes', 100), progress=False),
}


@pytest.mark.parametrize('name', WRITERS)
def test_the_error_names_the_file_and_what_was_there_stays(small_disk: Path, name: str) -> None:
    path = small_disk / name
    if name != 'world':
        path.write_text('old')
    with pytest.raises(OSError, match=f'{path}.* could not be written: .*[Ff]ree some space'):
        WRITERS[name](path)
    if name != 'world':
        assert path.read_text() == 'old'
    assert [p.name for p in small_disk.iterdir()] == ([] if name == 'world' else [name])


def test_torch_saving_by_name_says_it_its_own_way_and_is_named_too(small_disk: Path) -> None:
    with pytest.raises(RuntimeError, match='unexpected pos|PytorchStreamWriter'):
        torch.save(WEIGHTS, small_disk / 'plain.pth')
    (small_disk / 'plain.pth').write_bytes(b'')
    with pytest.raises(OSError, match=r'whole\.pth could not be written: No space left') as caught:
        with fileio.write_whole(small_disk / 'whole.pth') as unfinished:
            torch.save(WEIGHTS, unfinished)
    assert caught.value.errno == errno.ENOSPC


def test_two_files_are_both_left_alone_and_the_second_is_named_once(small_disk: Path) -> None:
    one, two = small_disk / 'one.json', small_disk / 'two.json'
    one.write_text('old')
    contents = {one: dict(a=[1]), two: dict(b=['x' * 2 * SIZE])}
    with pytest.raises(OSError, match='two.json could not be written') as caught:
        write_all(contents, progress=False)
    assert 'one.json' not in str(caught.value)
    assert one.read_text() == 'old' and [p.name for p in small_disk.iterdir()] == ['one.json']


@pytest.mark.parametrize('name', WRITERS)
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with mounted(tmp_path / 'disk', 'ro') as folder:
        path = folder / name
        with pytest.raises(OSError, match=f'{path} could not be written: .*Make {folder} w'):
            WRITERS[name](path)


@pytest.mark.parametrize(
    'error',
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_errors_of_memory_are_named(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(MemoryError, match=r'a\.pth could not be written: out of memory.*Buy some'):
        with fileio.write_whole(tmp_path / 'a.pth', 'Buy some'):
            raise error


def test_memory_that_is_not_enough_is_named() -> None:
    class Huge(io.BytesIO):
        def write(self, data: bytes) -> int:
            raise MemoryError

    with pytest.raises(MemoryError, match='iter_9.pth could not be written: out of memory'):
        with fileio.naming_write_errors('iter_9.pth'):
            torch.save(WEIGHTS, Huge())


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f'iter_5.pth.abc{fileio.UNFINISHED}'
    left.write_text('half')
    other = tmp_path / f'features.npz.abc{fileio.UNFINISHED}.npz'
    other.write_text('half')
    with fileio.write_whole(tmp_path / 'iter_6.pth', suffix='') as unfinished:
        assert fileio.remove_unfinished(tmp_path, 'iter_*') == [left]
        assert unfinished.exists() and other.exists()
    assert fileio.remove_unfinished(tmp_path) == [other]
    assert [path.name for path in tmp_path.iterdir()] == ['iter_6.pth']


def test_the_longest_name_there_is(tmp_path: Path) -> None:
    path = tmp_path / f'{"x" * 250}.txt'
    fileio.write_text(path, 'new')
    assert path.read_text() == 'new' and len(list(tmp_path.iterdir())) == 1
