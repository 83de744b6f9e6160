# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Text encoders with weights, from whatever holds some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import open_clip
from torch import Tensor

from ..checkpoints.files import read_file
from ..checkpoints.state_dicts import find_state_dict
from ..models.text import CLIPTextEncoder
from ..models.text.clip_text_encoder import tower_settings

# Where our checkpoints have it: those of ImageTextCLIP, and of RegionCLIP with save_frozen.
_OURS = 'text_encoder.'


def load_text_encoder(
    arch: str | Mapping[str, Any], weights: str | None = None, quick_gelu: bool | None = None
) -> CLIPTextEncoder:
    """A text encoder, filled.

    Args:
        arch: An open_clip model with CLIP's own text tower (causal, CLIP's tokens), or the sizes
            of one, see ``CLIPTextEncoder``.
        weights: What ``load_clip_state_dict`` takes: ``ARCH/TAG`` of open_clip or a file; or a
            checkpoint of ours with a text encoder in it. None: ``ARCH/openai``.
        quick_gelu: The activation: True for OpenAI's approximation, False for the exact one. None:
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
    ours = _part_of_our_checkpoint(weights) if os.path.isfile(weights) else {}
    if ours:
        encoder.load_state_dict(ours)
        encoder.weights_source = weights
    else:
        encoder.init_cfg = dict(type='CLIPPretrained', checkpoint=weights)
        encoder.init_weights()
    return encoder


def _activation_known_to_open_clip(weights: str) -> bool | None:
    arch, _, tag = weights.replace('@', '/').partition('/')
    if os.path.isfile(weights):
        return None
    found = open_clip.pretrained.get_pretrained_cfg(arch, tag or 'openai')
    return bool(found.get('quick_gelu', False)) if found else None


def _part_of_our_checkpoint(path: str) -> dict[str, Tensor]:
    state = find_state_dict(read_file(path, 'text encoder')[1], path)
    return {k.removeprefix(_OURS): value for k, value in state.items() if k.startswith(_OURS)}
