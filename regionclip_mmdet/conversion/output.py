# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Converted checkpoints into files, in our layout or in CLIP's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.clip_weights import clip_keys
from ..checkpoints.layouts import LOGIT_SCALE, clip_key
from ..checkpoints.translation import Conversion
from ..compat.checkpoints import save_whole
from ..fileio import PathLike, write_whole

# CLIP's logit scale at the end of its training, where a file does not tell: ln 100
CLIP_LOGIT_SCALE = 4.6052


def to_clip(result: Conversion) -> tuple[dict[str, Tensor], list[str]]:
    """Image tower and, where there, text tower in the layout of OpenAI's CLIP and open_clip.

    Args:
        result: conversion with a backbone and a region encoder.

    Returns:
        The state dict, ``logit_scale`` included, and our names that CLIP has no place for.

    Raises:
        ValueError: There is no image tower.
    """
    state, left = {}, []
    for key, tensor in result.state_dict.items():
        theirs = clip_key(key)
        if theirs is None:
            left.append(key)
        else:
            state[theirs] = tensor
    if not any(key.startswith('visual.attnpool.') for key in state):
        raise ValueError('There is no CLIP image tower in this checkpoint.')
    state[LOGIT_SCALE] = torch.tensor(result.notes.get('logit_scale', CLIP_LOGIT_SCALE))
    return state, left


def export_clip_state_dict(*modules: nn.Module) -> dict[str, Tensor]:
    """The modules' tensors under CLIP's names, on the CPU: what ``CLIPPretrained`` reads."""
    exported: dict[str, Tensor] = {}
    for module in modules:
        own = module.state_dict()
        for key, theirs in clip_keys(module).items():
            exported[theirs] = own[key].detach().cpu().clone()
    return exported


def save(state: Mapping[str, Tensor], notes: Mapping[str, Any], path: PathLike) -> None:
    """Write tensors and notes, whole or not at all.

    Args:
        state: tensors by name.
        notes: JSON-able notes; ``meta`` of a ``.pth`` file, metadata of a ``.safetensors`` one.
        path: path of the file, which ends with ``.pth`` or ``.safetensors``.

    Raises:
        OSError: It could not be written; with its path.
        ValueError: A tensor has no values.
    """
    hollow = next((key for key, tensor in state.items() if tensor.is_meta), None)
    if hollow is not None:
        raise ValueError(f'{hollow} has a shape but no values (it is on the meta device).')
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    if not os.fspath(path).endswith('.safetensors'):
        save_whole(dict(meta=dict(notes), state_dict=tensors), path)
        return
    from safetensors.torch import save_file

    with write_whole(path) as unfinished:
        save_file(tensors, unfinished, metadata=dict(regionclip_mmdet=json.dumps(dict(notes))))
