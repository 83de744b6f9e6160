# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Damaged archives of arrays and of kept embeddings: the same values, or one error with the file.

Where a warning and a new start are promised, as by the cache of embeddings, no damage ends the run.
"""

from __future__ import annotations

import random
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz.damaged_bytes import both_kinds, damaged, outcome
from fuzz.time_limit import time_limit
from mmdet.registry import MODELS

from helpers import features_world, tiny_models
from regionclip_mmdet.export import OnnxDetector
from regionclip_mmdet.features import read_region_features
from regionclip_mmdet.fileio import check_zip, read_npz
from regionclip_mmdet.models.text import EmbeddingCache

pytestmark = pytest.mark.slow
CASES = 400


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return dict(
        boxes=rng.random((20, 4), dtype=np.float32),
        half=rng.random(30).astype('f2'),
        fortran=np.asfortranarray(rng.integers(0, 9, (3, 4))),
        big=np.arange(5, dtype='>i4'),
        names=np.array(['cat', 'größe']),
        flags=np.array([True, False]),
        empty=np.zeros((0, 3)),
        scalar=np.array('{"a": 1}'),
    )


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return all(
        found[key].dtype == value.dtype and np.array_equal(found[key], value)
        for key, value in expected.items()
        if key in found
    )


@pytest.mark.parametrize('compressed', [False, True])
def test_arrays(compressed: bool, tmp_path: Path) -> None:
    rng = random.Random(compressed)
    path = tmp_path / 'a.npz'
    (np.savez_compressed if compressed else np.savez)(path, **arrays())
    whole = path.read_bytes()
    counts: Counter = Counter()
    for _ in range(CASES):
        path.write_bytes(damaged(rng, whole))
        found, content = outcome(read_npz, path)
        counts[found] += 1
        assert found == 'refused' or same(content, arrays())
        outcome(check_zip, path)
    both_kinds(counts)


def header(rng: random.Random) -> bytes:
    """A header of numpy with odd things in it."""
    shapes = ('()', '(3,)', '(-1,)', '(10**9,)', '(9999999999999,)', '(3, 0, 99)', '3', '(1.5,)')
    kinds = ("'<f4'", "'|O'", "'<U2000000000'", "'V9'", "[('a', '<f4')]", "'<m8[s]'", "''", '1')
    extra = rng.choice(('', "'x': 1, ", '[' * 5000, '__import__("os")', "'shape': (), "))
    fields = f"'descr': {rng.choice(kinds)}, 'fortran_order': {rng.choice(('True', 'False', '7'))}"
    return f"{{{extra}{fields}, 'shape': {rng.choice(shapes)}, }}".encode()


def odd_array(rng: random.Random) -> bytes:
    version = rng.choice((b'\x01\x00', b'\x02\x00', b'\x03\x00', b'\x09\x00'))
    text = header(rng)
    length = rng.choice((len(text), len(text), 10, 2**16 - 1, 2**31 - 1))
    size = (
        (length & 0xFFFF).to_bytes(2, 'little') if version[0] == 1 else length.to_bytes(4, 'little')
    )
    start = rng.choice((b'\x93NUMPY', b'\x93NUMPY', b'\x93NUMPY', b'\x80\x04N.', b''))
    return start + version + size + text + rng.randbytes(rng.choice((0, 12, 36)))


def test_hostile_arrays(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / 'a.npz'
    counts: Counter = Counter()
    for _ in range(CASES):
        with zipfile.ZipFile(path, 'w', rng.choice((0, 8, 12, 14))) as archive:
            for name in rng.sample(('x.npy', 'x', 'y.npy', '../z.npy', 'a/', ''), 2):
                archive.writestr(name or 'n', odd_array(rng))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            counts[outcome(read_npz, path)[0]] += 1
    assert counts['refused'], counts


def test_region_features(tmp_path: Path) -> None:
    """Any file of a folder."""
    rng = random.Random(1)
    photos = features_world.write_images(tmp_path / 'photos')
    out = tmp_path / 'out'
    features_world.extract(features_world.maker(), photos, out)
    expected = read_region_features(out)
    counts: Counter = Counter()
    for path in (out / 'regions-00000.npz', out / 'features.json'):
        whole = path.read_bytes()
        for _ in range(CASES // 2):
            path.write_bytes(damaged(rng, whole))
            found, content = outcome(lambda path: read_region_features(path.parent), path)
            counts[found] += 1
            if found == 'read' and path.suffix == '.npz':
                assert np.array_equal(content.embeddings, expected.embeddings)
                assert np.array_equal(content.boxes, expected.boxes)
        path.write_bytes(whole)
    both_kinds(counts)


def test_exported_detectors(tmp_path: Path) -> None:
    rng = random.Random(2)
    settings = '{"test_cfg": {"score_thr": 0.1}, "resize": null}'
    (tmp_path / 'detector.json').write_text(settings)
    text = np.random.default_rng(0).random((2, 3))
    np.savez(tmp_path / 'vocabulary.npz', names=['a', 'b'], embeddings=text)
    counts: Counter = Counter()
    for name in ('detector.json', 'vocabulary.npz'):
        path = tmp_path / name
        whole = path.read_bytes()
        for _ in range(CASES // 2):
            path.write_bytes(damaged(rng, whole))
            found, detector = outcome(lambda path: OnnxDetector(path.parent), path)
            counts[found] += 1
            if found == 'read':
                assert name == 'detector.json' or np.array_equal(detector.text, text)
        path.write_bytes(whole)
    both_kinds(counts)


def test_cache_of_embeddings(tmp_path: Path) -> None:
    rng = random.Random(3)
    encoder = tiny_models.fill(MODELS.build(tiny_models.text_encoder()))
    names = ['cat', 'dog', 'größe']
    cache = EmbeddingCache(tmp_path, encoder, 'plain', names_kept=0)
    expected = cache.encode_names(names)
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    for _ in range(CASES):
        path.write_bytes(damaged(rng, whole))
        with time_limit():
            found = cache.encode_names(names)
        assert found.names == expected.names and torch.equal(found.matrix, expected.matrix)
