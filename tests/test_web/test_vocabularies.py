# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From what visitors type to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from demo.web import UserError, WordEmbedder, make_presets, words_of
from helpers import tiny_models
from regionclip_mmdet.datasets.categories import LVIS_V1_NAMES
from regionclip_mmdet.models.text import CLIPTextEncoder, TextEmbeddings


@pytest.fixture(scope='module')
def encoder() -> CLIPTextEncoder:
    return tiny_models.fill(MODELS.build(tiny_models.text_encoder()), seed=2)


def test_words_are_never_a_file(tmp_path: Path) -> None:
    (tmp_path / 'secret.txt').write_text('secret\n')
    path = str(tmp_path / 'secret.txt')
    assert words_of(path) == (path,)


@pytest.mark.parametrize(
    ('text', 'message'),
    [('x' * 201, '201 characters'), ('a, ' * 400_000, '1,200,000 characters')],
)
def test_words_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        words_of(text)


def test_presets() -> None:
    own = tiny_models.vocabulary()
    presets = make_presets(own)
    assert [len(preset.names) for preset in presets] == [3, 65, 80, 1203]
    assert all(len(set(p.names)) == len(p.names) for p in presets)
    assert 'bow weapon' in presets[-1].names
    assert len(make_presets(None)) == len(make_presets(TextEmbeddings.from_tensor(own.matrix))) == 3


def test_names_are_embedded_in_parts(encoder: CLIPTextEncoder) -> None:
    asked, seen = [], []

    def embed(names: Sequence[str]) -> TextEmbeddings:
        asked.append(len(names))
        return encoder.encode_names(names, 'single')

    names = tuple(f'thing {i}' for i in range(150))
    found = WordEmbedder(embed).embed(names, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 150), (64, 150), (128, 150)] and asked == [64, 64, 22]
    expected = encoder.encode_names(names, 'single')
    assert found.names == names
    torch.testing.assert_close(found.matrix, expected.matrix, rtol=1e-4, atol=1e-5)


def test_a_list_in_hand_is_used_if_it_has_all_names(encoder: CLIPTextEncoder) -> None:
    known = tiny_models.vocabulary(('cat', 'dog', 'horse'))
    embedder = WordEmbedder(partial(encoder.encode_names, templates='single'), [known])
    assert embedder.known is None
    assert torch.equal(embedder.embed(['horse', 'cat']).matrix, known.matrix[[2, 0]])
    capital = embedder.embed(['Horse', 'cat'])  # as phones begin a line
    assert capital.names == ('Horse', 'cat') and torch.equal(capital.matrix, known.matrix[[2, 0]])
    mixed = embedder.embed(['horse', 'zebra'])  # all by one prompt, or they would not compare
    torch.testing.assert_close(
        mixed.matrix, encoder.encode_names(['horse', 'zebra'], 'single').matrix
    )


def test_embeddings_of_lvis_serve_its_preset() -> None:
    known = tiny_models.vocabulary(LVIS_V1_NAMES)
    preset = make_presets()[-1]
    found = WordEmbedder(None, [known]).embed(preset.names)
    assert found.names == preset.names and torch.equal(found.matrix, known.matrix)


def test_without_text_encoder() -> None:
    lists = [tiny_models.vocabulary(('cat', 'dog')), tiny_models.vocabulary(('horse',))]
    embedder = WordEmbedder(None, lists)
    assert embedder.known == {'cat', 'dog', 'horse'}
    assert embedder.embed(['dog']).names == ('dog',)
    assert torch.equal(embedder.embed(['Dog']).matrix, lists[0].matrix[[1]])
    with pytest.raises(UserError, match='"zebra" are not'):
        embedder.embed(['Dog', 'zebra'])
    with pytest.raises(UserError, match='knows 3 names; "zebra" are not'):
        embedder.embed(['dog', 'zebra'])
    with pytest.raises(UserError, match='no single list'):
        embedder.embed(['dog', 'horse'])
