# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text encoders with weights, from whatever holds some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import open_clip
from mmengine.model import initialize

from ..models.text import CLIPTextEncoder
from ..models.text.clip_text_encoder import tower_settings


def load_text_encoder(
    arch: str | Mapping[str, Any], weights: str | None = None, quick_gelu: bool | None = None
) -> CLIPTextEncoder:
    """A text encoder, filled.

    Args:
        arch: open_clip model with CLIP's own text tower (causal, CLIP's tokens), or the sizes
            of one, see ``CLIPTextEncoder``.
        weights: weights, as ``load_clip_state_dict`` takes them: ``ARCH/TAG`` of open_clip, or a
            file of CLIP, the official RegionCLIP or this project with a text encoder in it. None:
            ``ARCH/openai``.
        quick_gelu: activation: True for OpenAI's approximation, False for the exact one. None:
            what open_clip knows of the weights; of files nothing is known, and it is True unless
            the sizes say otherwise.

    Raises:
        FileNotFoundError: No such weights.
        RuntimeError: They do not fit.
        ValueError: No such model, one with another kind of text tower, or a file that holds none.
    """
    if weights is None:
        if not isinstance(arch, str):
            raise ValueError('an arch given by its sizes needs weights.')
        weights = f'{arch}/openai'
    if quick_gelu is None:
        quick_gelu = _activation_known_to_open_clip(weights)
    settings = tower_settings(arch)
    if quick_gelu is not None and quick_gelu != settings.get('quick_gelu', True):
        arch = dict(settings, quick_gelu=quick_gelu)
    encoder = CLIPTextEncoder(arch)
    # not init_weights(), which would also log a line for every single tensor
    initialize(encoder, dict(type='CLIPPretrained', checkpoint=weights))
    return encoder


def _activation_known_to_open_clip(weights: str) -> bool | None:
    arch, _, tag = weights.replace('@', '/').partition('/')
    if os.path.isfile(weights):
        return None
    found = open_clip.pretrained.get_pretrained_cfg(arch, tag or 'openai')
    return bool(found.get('quick_gelu', False)) if found else None
