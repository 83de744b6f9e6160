# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the text encoder for own names comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from torch import Tensor

from ..default_scope import default_scope
from ..models.detectors import OpenVocabularyRCNN
from ..models.text import CLIPTextEncoder
from ..recipes.text_encoders import load_text_encoder

TextEncoderSource = str | Path | Mapping[str, Any] | CLIPTextEncoder
PREFIX = 'text_encoder.'
REMEDY = (
    'Give one of: text_encoder=FILE (CLIP weights of OpenAI or open_clip, or a RegionCLIP '
    "checkpoint, official or converted), text_encoder='RN50/openai' (open_clip downloads it), a "
    'checkpoint that holds text_encoder.*, a text_encoder in the model config; or stored '
    'embeddings (tools/embed_names.py), which need no text encoder.'
)


def find_text_encoder(
    model: OpenVocabularyRCNN,
    given: TextEncoderSource | None = None,
    carried: Mapping[str, Tensor] | None = None,
    origin: str = 'the checkpoint',
    arch: str | Mapping[str, Any] | None = None,
) -> CLIPTextEncoder:
    """The first of: the given one, the model's own, the one in its checkpoint.

    Args:
        model: detector with ``cfg``.
        given: an encoder, its config, or what ``load_text_encoder`` takes as weights.
        carried: tensors below ``text_encoder.`` of the model's checkpoint.
        origin: file that these are from.
        arch: sizes of a given file's text tower, see ``CLIPTextEncoder``; None: those of the
            model's text encoder, else of its backbone, if that has a name.

    Returns:
        An encoder with weights and the model's embedding dimension, in evaluation mode, on the
        model's device.

    Raises:
        RuntimeError: there is none, or one with random weights; says what helps.
        ValueError: the encoder has another embedding dimension.
    """
    if given is not None:
        encoder = _given(model, given, arch)
    elif model.text_encoder is not None:
        model.ensure_weights('text_encoder')
        encoder = model.text_encoder
    elif carried:
        encoder = CLIPTextEncoder(tower_sizes(carried))
        encoder.load_state_dict(dict(carried))
        encoder.weights_source = origin
    else:
        raise RuntimeError(f'own names need a text encoder, and this model has none. {REMEDY}')
    dim = model.roi_head.bbox_head.active_classifier.embed_dim
    if encoder.embed_dim != dim:
        raise ValueError(
            f'the embeddings of the text encoder ({encoder.weights_source or encoder.arch}) are '
            f'{encoder.embed_dim}-dimensional, those of this model {dim}-dimensional: take the '
            'text encoder of the same CLIP model (RN50: 1024, RN50x4: 640).'
        )
    device = next(model.parameters()).device
    return encoder.to(device).eval()


def tower_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Sizes of a CLIP text tower, read off its tensors; heads are 64 wide, as in all of CLIP's.

    Args:
        state: tensors with the keys of ``CLIPTextEncoder``, ``model.*``.
    """
    context_length, width = state['model.positional_embedding'].shape
    blocks = {key.split('.')[3] for key in state if key.startswith('model.transformer.resblocks.')}
    return dict(
        context_length=context_length,
        vocab_size=len(state['model.token_embedding.weight']),
        width=width,
        heads=max(1, width // 64),
        layers=len(blocks),
        embed_dim=state['model.text_projection'].shape[1],
    )


def _given(
    model: OpenVocabularyRCNN, given: TextEncoderSource, arch: str | Mapping[str, Any] | None
) -> CLIPTextEncoder:
    if isinstance(given, CLIPTextEncoder):
        return given
    if isinstance(given, Mapping):
        with default_scope():
            encoder = MODELS.build(dict(given))
        encoder.init_weights()
        if getattr(encoder, 'weights_source', None) is None:
            raise RuntimeError(
                "the given text_encoder names no weights: init_cfg=dict(type='CLIPPretrained', "
                'checkpoint=...).'
            )
        return encoder
    if arch is None and model.text_encoder is not None:
        arch = model.text_encoder.arch
    if arch is None:
        arch = model.cfg.model.backbone.get('arch')
        if not isinstance(arch, str):
            raise ValueError(
                f'text_encoder={str(given)!r}: the sizes of the text tower are not known, because '
                "this model's backbone is none of CLIP's by name. Give a config: "
                "text_encoder=dict(type='CLIPTextEncoder', arch=dict(...), init_cfg=dict("
                "type='CLIPPretrained', checkpoint=...))."
            )
    return load_text_encoder(arch, str(given))
