# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text tower: golden values of the official code, trimming, tokens, freezing."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from checks.parity.generated_weights import fill_tensors
from regionclip_mmdet.models.text import CLIPTextEncoder, TextEmbeddings, fill_prompts
from regionclip_mmdet.models.text.causal_tower import embed_with_shared_beginning

GOLDEN = Path(__file__).parents[2] / 'data' / 'golden'
TOY = dict(context_length=20, vocab_size=49408, width=32, heads=2, layers=2, embed_dim=16)
LONG = 'a photo of ' + 'very ' * 30 + 'long text'


def toy(**settings: object) -> CLIPTextEncoder:
    torch.manual_seed(0)
    encoder = CLIPTextEncoder(TOY, **settings)
    # open_clip's initialization is so small that everything would look alike.
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(5)
    return encoder


def golden_case(name: str, arch: str) -> tuple[CLIPTextEncoder, dict]:
    case = dict(np.load(GOLDEN / f'g_text_{name}.npz'))
    case['meta'] = json.loads(str(case['meta']))
    encoder = CLIPTextEncoder(arch, truncate='official')
    names = {'lang_encoder.' + k: tuple(v.shape) for k, v in encoder.model.state_dict().items()}
    weights = fill_tensors(names, case['meta']['weights_seed'])
    encoder.model.load_state_dict({k.removeprefix('lang_encoder.'): v for k, v in weights.items()})
    return encoder, case


def check_captions(encoder: CLIPTextEncoder, case: dict) -> None:
    captions = case['meta']['captions']
    ids = encoder.tokenize(captions)
    assert np.array_equal(ids.numpy(), case['caption_ids'])
    tolerance = case['meta']['thresholds']['embeddings_max_abs']
    assert np.abs(encoder(captions).numpy() - case['caption_embeddings']).max() < tolerance
    # The over-long caption lost its end token: any other one has the same embedding.
    other = encoder('something else ' * 60)
    assert np.abs(other.numpy() - case['caption_embeddings'][4]).max() < tolerance
    kept = encoder(encoder.tokenize(captions[4], truncate='keep_end'))
    assert np.abs(kept.numpy() - case['caption_embeddings'][4]).max() > 0.1


def test_golden_captions() -> None:
    """All golden cases of text are run by ``tests/test_parity``; here the over-long ones."""
    check_captions(*golden_case('rn50', 'RN50'))


def test_trimming_changes_nothing() -> None:
    # In double precision, so that only a real difference could show.
    encoder = toy().double()
    ids = encoder.tokenize(['cat', 'a bad photo of the traffic light!!!', '', LONG])
    ids = torch.cat([ids, encoder.tokenize(LONG, truncate='official')])
    whole_context: Tensor = encoder.model(ids).float()
    assert whole_context.std() > 0.1
    torch.testing.assert_close(encoder(ids), whole_context, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder(ids[:1]), whole_context[:1], rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder(ids[4:]), whole_context[4:], rtol=0, atol=1e-6)


def tokens_computed(encoder: CLIPTextEncoder) -> list[int]:
    """Filled with the number of tokens in each pass through the first and the last block."""
    counts: list[int] = []
    blocks = encoder.model.transformer.resblocks
    for block in (blocks[0], blocks[-1]):
        block.mlp.register_forward_pre_hook(
            lambda module, args: counts.append(args[0].shape[:-1].numel())
        )
    return counts


def test_short_batches_run_short() -> None:
    encoder = toy()
    counts = tokens_computed(encoder)
    encoder(['cat', 'a dog'])
    assert counts == [8, 8]  # start, a, dog, end; the other as long


@pytest.mark.parametrize(
    ('texts', 'tokens'),
    [
        # tokens that all have in common, then the rest of each up to its end
        (['a photo of a cat.', 'a photo of a traffic light.', 'a photo of a'], 5 + 3 + 4 + 1),
        (['cat', 'a bad photo of the traffic light!!!', '', LONG], 1 + 2 + 9 + 1 + 19),
        (['my cat', 'my cat'], 3 + 2),
        (['my cat'], 3 + 1),
        ([''], 1 + 1),
    ],
)
def test_a_shared_beginning_is_computed_once(texts: list[str], tokens: int) -> None:
    encoder = toy().double()
    ids = encoder.tokenize(texts)
    whole_context = encoder.model(ids)
    counts = tokens_computed(encoder)
    made = embed_with_shared_beginning(encoder.model, ids)
    assert counts == [tokens, len(texts)]  # the last block needs the end tokens only
    torch.testing.assert_close(made, whole_context, rtol=0, atol=1e-12)


def test_ends_that_were_cut_off() -> None:
    encoder = toy(truncate='official').double()
    ids = encoder.tokenize([LONG, 'a photo of a cat', LONG + ' of a city'])
    made = embed_with_shared_beginning(encoder.model, ids)
    torch.testing.assert_close(made, encoder.model(ids), rtol=0, atol=1e-12)


def test_names_share_the_beginnings_of_their_templates() -> None:
    encoder = toy()
    counts = tokens_computed(encoder)
    encoder.encode_names(['cat', 'traffic light'], ['a photo of my {}.', 'the {}'])
    assert counts == [5 + 3 + 4, 2, 2 + 2 + 3, 2]
    counts.clear()
    encoder.encode_names(['traffic light', 'cat', LONG], ['{}'], batch_size=2)
    assert counts == [1 + 2 + 3, 2, 19 + 1, 1]  # the short ones together


def test_truncation_rules() -> None:
    encoder = toy()
    texts = ['cat', LONG]
    expected = open_clip.SimpleTokenizer(context_length=20)(texts)
    assert torch.equal(encoder.tokenize(texts), expected)
    cut = encoder.tokenize(texts, truncate='official')
    assert cut[1, -1] != 49407 and torch.equal(cut[1, :-1], expected[1, :-1])
    assert torch.equal(toy(truncate='official').tokenize(texts), cut)


def test_concept_is_the_mean_of_unnormalized_prompts() -> None:
    encoder = toy()
    names = ['traffic light', 'cat', 'hot dog, bun']
    embeddings = encoder.encode_names(names, batch_size=7)
    expected = torch.stack([encoder(fill_prompts(name)).mean(dim=0) for name in names])
    torch.testing.assert_close(embeddings.matrix, expected, rtol=0, atol=1e-5)
    assert embeddings.provenance['templates'] == 'ensemble81'
    assert embeddings.provenance['num_templates'] == 81
    assert embeddings.provenance['normalized'] is False
    single = TextEmbeddings.from_names(['cat'], encoder, 'single')
    torch.testing.assert_close(single.matrix, encoder('a photo of a cat.'), rtol=0, atol=1e-5)


def test_vocabularies_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = toy()
    names = ['cat', 'traffic light', 'a', 'hot dog', 'x y z']
    expected = encoder.encode_names(names, ['{}', 'my {}'])
    monkeypatch.setattr('regionclip_mmdet.models.text.clip_text_encoder._PROMPTS_PER_CHUNK', 4)
    chunked = encoder.encode_names(names, ['{}', 'my {}'])
    torch.testing.assert_close(chunked.matrix, expected.matrix, rtol=0, atol=1e-4)


def test_frozen_stays_frozen() -> None:
    frozen = toy().train()
    assert not frozen.training and not frozen.model.training
    assert not any(p.requires_grad for p in frozen.parameters())
    trained = toy(frozen=False).train()
    assert trained.training
    trained('cat').sum().backward()
    assert trained.model.text_projection.grad.abs().sum() > 0


def test_gelu_choice_matters() -> None:
    quick, exact = toy(), CLIPTextEncoder(dict(TOY, quick_gelu=False))
    exact.load_state_dict(quick.state_dict())
    assert (quick('cat') - exact('cat')).abs().max() > 1e-4


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([], 'at least one name'),
        ('cat', "a list of strings, not the string 'cat'"),
        (['cat', None], 'name 1 is None'),
        (['cat', 'dog', 'cat'], r"occur again: \['cat'\]"),
        (['cat', ' '], r"nothing to put into a prompt: \[' '\]"),
        (['cat', ',+'], r"nothing to put into a prompt: \[',\+'\]"),
        (['cat', '\ud83d'], 'half a character'),
    ],
)
def test_bad_names_are_refused_before_any_is_embedded(names: list, message: str) -> None:
    encoder = toy()
    encoder.model.forward = encoder._embed = None  # would fail otherwise
    with pytest.raises(ValueError, match=message):
        encoder.encode_names(names)


def test_unusual_names() -> None:
    names = ['{}', 'a' * 300, 'naïve café', '狗', '🐕', 'x\ny', '"quoted"', 'C#', '&amp;']
    embedded = toy().encode_names(names, ['a {}'])
    assert embedded.names == tuple(names)
    distances = torch.cdist(embedded.matrix, embedded.matrix) + torch.eye(len(names))
    assert distances.min() > 1e-3


def test_errors_name_the_remedy() -> None:
    with pytest.raises(ValueError, match='open_clip knows no model'):
        CLIPTextEncoder('RN51')
    with pytest.raises(ValueError, match='depth'):
        CLIPTextEncoder(dict(TOY, depth=3))
    with pytest.raises(ValueError, match='vocab_size=49408'):
        CLIPTextEncoder(dict(TOY, vocab_size=100))('cat')
    assert toy()([]).shape == (0, 16)
