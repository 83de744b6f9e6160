# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Embeddings kept in a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS

from helpers import tiny_models
from regionclip_mmdet.models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings
from regionclip_mmdet.models.text import embedding_cache as module

NAMES = [f'thing {number}' for number in range(7)]


def make_encoder(seed: int = 0) -> CLIPTextEncoder:
    return tiny_models.fill(MODELS.build(tiny_models.text_encoder()), seed)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names as they are embedded, three to a file."""
    monkeypatch.setattr(module, '_NAMES_PER_FILE', 3)
    seen: list[str] = []
    stock = CLIPTextEncoder.encode_names

    def watched(self: CLIPTextEncoder, names: Sequence[str], *args: Any) -> TextEmbeddings:
        made = stock(self, names, *args)
        seen.extend(names)
        return made

    monkeypatch.setattr(CLIPTextEncoder, 'encode_names', watched)
    return seen


def test_the_same_as_without(tmp_path: Path, encoded: list[str]) -> None:
    encoder = make_encoder()
    expected = encoder.encode_names(NAMES, 'single')
    encoded.clear()
    made = EmbeddingCache(tmp_path, encoder, 'single').encode_names(NAMES)
    assert encoded == NAMES
    assert made.names == expected.names and made.provenance == expected.provenance
    torch.testing.assert_close(made.matrix, expected.matrix)
    assert len(list(tmp_path.rglob('*'))) == 1 + 3  # a folder, files of 3, 3 and 1 names


def test_only_new_names_are_embedded(tmp_path: Path, encoded: list[str]) -> None:
    first = EmbeddingCache(tmp_path, make_encoder(), 'single').encode_names(NAMES[:4])
    encoded.clear()
    wanted = ['new', *NAMES[3:1:-1], 'newer']
    made = EmbeddingCache(tmp_path, make_encoder(), 'single').encode_names(wanted)
    assert encoded == ['new', 'newer']
    assert made.names == tuple(wanted)
    assert torch.equal(made.matrix[1:3], first.matrix[[3, 2]])
    encoded.clear()
    again = EmbeddingCache(tmp_path, make_encoder(), 'single').encode_names(wanted)
    assert encoded == [] and torch.equal(again.matrix, made.matrix)
    assert again.provenance == made.provenance


def test_a_stopped_run_goes_on(
    tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TextEmbeddings.save

    def stops(self: TextEmbeddings, path: Path) -> None:
        if len(encoded) > 5:
            raise KeyboardInterrupt
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(TextEmbeddings, 'save', stops)
        with pytest.raises(KeyboardInterrupt):
            EmbeddingCache(tmp_path, make_encoder(), 'single').encode_names(NAMES)
    encoded.clear()
    made = EmbeddingCache(tmp_path, make_encoder(), 'single').encode_names(NAMES)
    assert encoded == NAMES[3:]
    torch.testing.assert_close(made.matrix, make_encoder().encode_names(NAMES, 'single').matrix)


def test_what_decides_an_embedding_decides_its_place(tmp_path: Path) -> None:
    def place(encoder: CLIPTextEncoder, templates: str | list[str] = 'single') -> Path:
        return EmbeddingCache(tmp_path, encoder, templates).folder

    same = place(make_encoder())
    assert place(make_encoder()) == same
    changed = make_encoder()
    with torch.no_grad():
        changed.model.ln_final.bias[-1] += 1e-3
    cut = make_encoder()
    cut.truncate = 'official'
    heads = make_encoder()
    heads.arch = dict(heads.arch, heads=1)
    others = [place(encoder) for encoder in (changed, cut, heads)]
    others += [place(make_encoder(), t) for t in ('plain', ['{} a photo of a'])]
    assert len({same, *others}) == 6


def test_a_damaged_file_is_made_again(tmp_path: Path, encoded: list[str]) -> None:
    cache = EmbeddingCache(tmp_path, make_encoder(), 'single', names_kept=0)
    made = cache.encode_names(NAMES)
    damaged = next(p for p in cache.folder.iterdir() if 'thing 0' in TextEmbeddings.load(p).names)
    damaged.write_bytes(damaged.read_bytes()[:100])
    encoded.clear()
    again = cache.encode_names(NAMES)
    assert encoded == NAMES[:3] and torch.equal(again.matrix, made.matrix)
    assert TextEmbeddings.load(damaged).names == tuple(NAMES[:3])


def test_bad_names_are_refused_before_any_is_embedded(tmp_path: Path, encoded: list[str]) -> None:
    cache = EmbeddingCache(tmp_path, make_encoder(), 'single', names_kept=0)
    for names, message in (([*NAMES, NAMES[0]], 'distinct'), ([*NAMES, ','], 'nothing')):
        with pytest.raises(ValueError, match=message):
            cache.encode_names(names)
    assert encoded == [] and not cache.folder.exists()


def test_writers_of_one_file_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are at the point of putting their file into place."""
    barrier = threading.Barrier(2, timeout=20)
    stock = os.replace

    def together(source: str, target: Path) -> None:
        barrier.wait()
        stock(source, target)

    monkeypatch.setattr(os, 'replace', together)
    made = tiny_models.vocabulary()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: made.save(tmp_path / 'names.pth'), range(2)))
    assert [path.name for path in tmp_path.iterdir()] == ['names.pth']
    assert TextEmbeddings.load(tmp_path / 'names.pth').names == made.names


def test_damage_of_any_kind_is_made_again(tmp_path: Path, encoded: list[str]) -> None:
    """Never another embedding, never an end of the run."""
    cache = EmbeddingCache(tmp_path, make_encoder(), 'single', names_kept=0)
    made = cache.encode_names(NAMES[:3])
    (path,) = cache.folder.iterdir()
    whole = path.read_bytes()
    again = 0
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        encoded.clear()
        assert torch.equal(cache.encode_names(NAMES[:3]).matrix, made.matrix)
        again += bool(encoded)
    assert again > 20


@pytest.mark.parametrize('odd', ['width', 'folder', 'link', 'version', 'names', 'tensor'])
def test_what_is_no_part_of_the_cache(odd: str, tmp_path: Path, encoded: list[str]) -> None:
    cache = EmbeddingCache(tmp_path, make_encoder(), 'single', names_kept=0)
    made = cache.encode_names(NAMES[:3])
    path = cache.folder / '0.pth'
    if odd == 'width':
        TextEmbeddings(NAMES[:3], torch.ones(3, 2)).save(path)
    elif odd == 'folder':
        path.mkdir()
    elif odd == 'link':
        path.symlink_to(tmp_path / 'nowhere')
    elif odd == 'tensor':
        torch.save(torch.ones(3, 32), path)
    else:
        content = torch.load(next(cache.folder.iterdir()))
        content[odd] = dict(version='2', names=[1, 2, 3])[odd]
        torch.save(content, path)
    encoded.clear()
    assert torch.equal(cache.encode_names(NAMES[:3]).matrix, made.matrix)
    assert encoded == []


class CountingEncoder(CLIPTextEncoder):
    """Keeps the names it has encoded."""

    def __init__(self) -> None:
        super().__init__(tiny_models.TEXT_ARCH)
        tiny_models.fill(self)
        self.encoded_names: list[str] = []

    def encode_names(self, names: list[str], *args: object, **kwargs: object):
        self.encoded_names += names
        return super().encode_names(names, *args, **kwargs)


class TestMemory:
    def test_each_name_is_embedded_once_per_prompt_set(self) -> None:
        encoder = CountingEncoder()
        embed = EmbeddingCache(None, lambda: encoder, 'plain').encode_names
        first = embed(['a', 'b'])
        second = embed(['b', 'c', 'a'])
        assert encoder.encoded_names == ['a', 'b', 'c']
        assert torch.equal(second.matrix[[2, 0]], first.matrix)
        assert second.names == ('b', 'c', 'a')
        embed(['a'], templates='single')
        assert encoder.encoded_names == ['a', 'b', 'c', 'a']

    def test_the_oldest_names_are_forgotten(self) -> None:
        encoder = CountingEncoder()
        embed = EmbeddingCache(None, encoder, 'plain', names_kept=2).encode_names
        embed(['a', 'b'])
        embed(['a'])  # used again
        embed(['c'])
        embed(['a', 'c'])
        assert encoder.encoded_names == ['a', 'b', 'c']
        embed(['b'])
        assert encoder.encoded_names == ['a', 'b', 'c', 'b']

    def test_a_folder_is_remembered_by_the_next_process(self, tmp_path: Path) -> None:
        encoder = CountingEncoder()
        first = EmbeddingCache(tmp_path, encoder).encode_names(['a', 'b'], templates='plain')
        again = EmbeddingCache(tmp_path, encoder).encode_names(['b', 'c'], templates='plain')
        assert encoder.encoded_names == ['a', 'b', 'c']
        assert torch.equal(again.matrix[0], first.matrix[1])


class TestLongNames:
    def test_what_is_cut_is_said(self) -> None:
        encoder = CountingEncoder()  # 12 tokens
        embed = EmbeddingCache(None, lambda: encoder, 'plain').encode_names
        long = 'one two three four five six seven eight nine ten eleven'
        with pytest.warns(UserWarning, match=r'names too long .* 12 tokens .1.*nine ten'):
            found = embed(['cat', long])
            same_beginning = embed([long.replace('eleven', 'twelve')])
        torch.testing.assert_close(found.matrix[1], same_beginning.matrix[0])

    def test_names_that_just_fit_are_not_warned_of(self, recwarn: pytest.WarningsRecorder) -> None:
        embed = EmbeddingCache(None, CountingEncoder, 'plain').encode_names
        embed(['one two three four five six seven eight nine'])  # and a full stop
        assert not [w for w in recwarn.list if 'too long' in str(w.message)]
