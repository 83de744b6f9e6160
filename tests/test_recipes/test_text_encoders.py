# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text encoders from open_clip's models, files of theirs and checkpoints of ours."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from mmdet.registry import MODELS

from helpers import tiny_models
from regionclip_mmdet.models.text import CLIPTextEncoder
from regionclip_mmdet.recipes import text_encoders
from regionclip_mmdet.recipes.text_encoders import load_text_encoder

TEXT_ARCH = tiny_models.TEXT_ARCH
TEXTS = ['a cat', 'two red balls']


def open_clip_model(kind: type, quick_gelu: bool = False) -> torch.nn.Module:
    """A small model of open_clip."""
    sizes = {key: value for key, value in TEXT_ARCH.items() if key != 'embed_dim'}
    vision = dict(image_size=32, patch_size=16, width=16, head_width=8, layers=1)
    model = kind(TEXT_ARCH['embed_dim'], vision, sizes, quick_gelu=quick_gelu)
    return tiny_models.fill(model).eval()


@pytest.mark.parametrize('kind', [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize('quick_gelu', [False, True])
def test_models_of_open_clip(tmp_path: Path, kind: type, quick_gelu: bool) -> None:
    model = open_clip_model(kind, quick_gelu)
    path = tmp_path / 'clip.pt'
    torch.save(dict(state_dict=model.state_dict()), path)
    encoder = load_text_encoder(TEXT_ARCH, str(path), quick_gelu)
    with torch.no_grad():
        expected = model.encode_text(encoder.tokenize(TEXTS))
        torch.testing.assert_close(encoder(TEXTS), expected)
        other = load_text_encoder(TEXT_ARCH, str(path), not quick_gelu)
        assert (other(TEXTS) - expected).abs().max() > 1e-3
    assert encoder.weights_source == str(path)
    assert encoder.arch.get('quick_gelu', True) is quick_gelu


@pytest.mark.parametrize(
    ('weights', 'known'),
    [
        ('RN50/openai', True),
        ('RN50', True),
        ('ViT-B-32@laion2b_s34b_b79k', False),
        ('ViT-B-32-quickgelu/laion400m_e32', True),
        ('absent.pt', None),
    ],
)
def test_what_open_clip_knows_of_activations(weights: str, known: bool | None) -> None:
    assert text_encoders._activation_known_to_open_clip(weights) is known


def test_checkpoints_of_ours(tmp_path: Path) -> None:
    source = tiny_models.fill(MODELS.build(tiny_models.text_encoder()), seed=3)
    state = {f'text_encoder.{key}': value for key, value in source.state_dict().items()}
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta={}, state_dict=dict(state, **{'backbone.x': torch.ones(1)})), path)
    encoder = load_text_encoder(TEXT_ARCH, str(path))
    assert torch.equal(encoder(TEXTS), source(TEXTS))
    assert encoder.weights_source == str(path)
    del state['text_encoder.model.ln_final.bias']
    torch.save(dict(state_dict=state), path)
    with pytest.raises(RuntimeError, match=r'model\.ln_final\.bias'):
        load_text_encoder(TEXT_ARCH, str(path))
    torch.save(dict(state_dict={'backbone.x': torch.ones(1)}), path)
    with pytest.raises(ValueError, match='is not a CLIP checkpoint'):
        load_text_encoder(TEXT_ARCH, str(path))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="'no_causal_mask'.*only CLIP's own text tower"):
        load_text_encoder('ViT-B-16-SigLIP')
    with pytest.raises(ValueError, match='needs weights'):
        load_text_encoder(TEXT_ARCH)


def test_activations_do_not_share_a_cache_folder(tmp_path: Path) -> None:
    """Nothing in the tensors tells them apart."""
    from regionclip_mmdet.models.text import EmbeddingCache

    encoders = [CLIPTextEncoder(dict(TEXT_ARCH, quick_gelu=quick)) for quick in (False, True)]
    encoders[1].load_state_dict(encoders[0].state_dict())
    folders = {EmbeddingCache(tmp_path, encoder).folder for encoder in encoders}
    assert len(folders) == 2
