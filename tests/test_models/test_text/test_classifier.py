# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cosine classifier: logits, and whose vocabulary holds after loading."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

from regionclip_mmdet.models.text import TextEmbeddingClassifier, TextEmbeddings

LOGGED = 'regionclip_mmdet.models.text.classifier.print_log'


def vocabulary(*names: str, seed: int = 0) -> TextEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    return TextEmbeddings(names, torch.randn(len(names), 4, generator=generator))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(LOGGED, lambda text, **kwargs: lines.append(text))
    return lines


def test_logits_are_cosines_over_temperature() -> None:
    names = TextEmbeddings(('x', 'diagonal'), torch.tensor([[5.0, 0.0], [3.0, 3.0]]))
    classifier = TextEmbeddingClassifier(2, names, temperature=0.01)
    logits = classifier(torch.tensor([[0.2, 0.0], [0.0, -7.0]]))
    half = 100 * math.sqrt(0.5)
    torch.testing.assert_close(logits, torch.tensor([[100.0, half, 0.0], [0.0, -half, 0.0]]))
    assert (logits[:, -1] == 0).all()
    without = TextEmbeddingClassifier(2, names, background=None)(torch.tensor([[0.2, 0.0]]))
    torch.testing.assert_close(without, torch.tensor([[100.0, half]]))


def test_float32_under_autocast() -> None:
    classifier = TextEmbeddingClassifier(4, vocabulary('a', 'b'))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = classifier(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(classifier(x), expected)
        assert classifier(x.bfloat16()).dtype == torch.float32


def test_gradients_reach_regions_only() -> None:
    classifier = TextEmbeddingClassifier(4, vocabulary('a', 'b'))
    x = torch.randn(3, 4, requires_grad=True)
    classifier(x)[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert not list(classifier.parameters()) and not classifier.embeddings.requires_grad


def test_vocabulary_from_a_file(tmp_path: Path) -> None:
    vocabulary('a', 'b').save(tmp_path / 'v.pth')
    classifier = TextEmbeddingClassifier(4, str(tmp_path / 'v.pth'))
    assert classifier.names == ('a', 'b') and classifier.num_classes == 2
    assert torch.equal(classifier.vocabulary.matrix, vocabulary('a', 'b').matrix)


def test_without_vocabulary_forward_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match='set_vocabulary'):
        TextEmbeddingClassifier(4)(torch.ones(1, 4))


@pytest.mark.parametrize('nested', [False, True])
def test_checkpoint_is_adopted_when_nothing_was_given(nested: bool) -> None:
    source = TextEmbeddingClassifier(4, vocabulary('a', 'b', 'c'))
    target = TextEmbeddingClassifier(4)
    if nested:
        source, target = nn.ModuleDict(dict(head=source)), nn.ModuleDict(dict(head=target))
    result = target.load_state_dict(source.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    head = target['head'] if nested else target
    assert head.names == ('a', 'b', 'c') and not head.is_explicit
    x = torch.randn(2, 4)
    assert torch.equal(
        target['head'](x) if nested else target(x), (source['head'] if nested else source)(x)
    )
    # Adopted, so another checkpoint may change it again.
    other = TextEmbeddingClassifier(4, vocabulary('z', seed=3))
    head.load_state_dict(other.state_dict())
    assert head.names == ('z',)


def test_given_vocabulary_wins_and_the_difference_is_logged_once(logged: list[str]) -> None:
    source = TextEmbeddingClassifier(4, vocabulary('a', 'b', 'c'))
    target = TextEmbeddingClassifier(4, vocabulary('a', 'c', seed=5))
    expected = target.embeddings.clone()
    for _ in range(2):
        target.load_state_dict(source.state_dict(), strict=True)
    assert target.names == ('a', 'c') and torch.equal(target.embeddings, expected)
    assert len(logged) == 1
    assert "'c' in the given vocabulary" in logged[0] and "'b' in the one in the" in logged[0]


def test_other_values_are_reported_and_agreement_is_silent(logged: list[str]) -> None:
    target = TextEmbeddingClassifier(4, vocabulary('a', 'b'))
    target.load_state_dict(TextEmbeddingClassifier(4, vocabulary('a', 'b')).state_dict())
    assert logged == []
    target.load_state_dict(TextEmbeddingClassifier(4, vocabulary('a', 'b', seed=9)).state_dict())
    assert len(logged) == 1 and 'other embeddings' in logged[0]
    assert torch.equal(target.embeddings, vocabulary('a', 'b').matrix)


def test_set_vocabulary_after_loading_wins(logged: list[str]) -> None:
    classifier = TextEmbeddingClassifier(4)
    checkpoint = TextEmbeddingClassifier(4, vocabulary('a', 'b')).state_dict()
    classifier.load_state_dict(checkpoint)
    classifier.set_vocabulary(vocabulary('x', 'y', 'z'))
    classifier.load_state_dict(checkpoint)
    assert classifier.names == ('x', 'y', 'z') and len(logged) == 1
    assert classifier(torch.ones(1, 4)).shape == (1, 4)


def test_absent_from_the_checkpoint() -> None:
    given = TextEmbeddingClassifier(4, vocabulary('a', 'b'))
    assert not given.load_state_dict({}, strict=True).missing_keys
    assert given.names == ('a', 'b')
    assert not TextEmbeddingClassifier(4).load_state_dict({}, strict=True).missing_keys


def test_wrong_width_is_an_error() -> None:
    with pytest.raises(ValueError, match=r'width 4.*width 8'):
        TextEmbeddingClassifier(8, vocabulary('a'))
    source = TextEmbeddingClassifier(4, vocabulary('a')).state_dict()
    with pytest.raises(RuntimeError, match=r'width 4.*width 8'):
        TextEmbeddingClassifier(8).load_state_dict(source)


def test_wrong_width_names_file_and_model(tmp_path: Path) -> None:
    wide = TextEmbeddings(('a',), torch.ones(1, 4), dict(model='RN50x4'))
    wide.save(tmp_path / 'names.pth')
    message = (
        r'the vocabulary in .*names.pth \(made by the text encoder of RN50x4\) has embeddings of '
        'width 4, but the model makes region embeddings of width 8'
    )
    with pytest.raises(ValueError, match=message):
        TextEmbeddingClassifier(8, tmp_path / 'names.pth')
    classifier = TextEmbeddingClassifier(8, TextEmbeddings(('x',), torch.ones(1, 8)))
    with pytest.raises(ValueError, match='the given vocabulary .*RN50x4'):
        classifier.set_vocabulary(wide)
    assert classifier.names == ('x',) and classifier(torch.ones(1, 8)).shape == (1, 2)


def test_half_a_vocabulary_is_an_error() -> None:
    source = TextEmbeddingClassifier(4, vocabulary('a')).state_dict()
    del source['names_utf8']
    with pytest.raises(RuntimeError, match='embeddings but not its partner'):
        TextEmbeddingClassifier(4).load_state_dict(source)


def test_mmengine_loader_behaves_alike() -> None:
    target = nn.ModuleDict(dict(head=TextEmbeddingClassifier(4), box=nn.Linear(4, 4)))
    source = nn.ModuleDict(
        dict(head=TextEmbeddingClassifier(4, vocabulary('a', 'b')), box=nn.Linear(4, 4))
    )
    mmengine_load(target, source.state_dict(), strict=True)
    assert target['head'].names == ('a', 'b')
    assert torch.equal(target['box'].weight, source['box'].weight)
