# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading CLIP weights, from a file or by open_clip's name, into this project's modules."""

from __future__ import annotations

import os
from typing import Any

import open_clip
import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from ..fileio import PathLike
from .files import read_file
from .state_dicts import find_state_dict, refuse_non_finite
from .translation import by_clips_names

StateDict = dict[str, Tensor]

_DEFAULT_TAG = 'openai'
# Found in every CLIP file: the image tower, or the text tower's projection.
_LANDMARKS = ('visual.', 'text_projection', 'token_embedding.weight')

# Backbone, region encoder and text encoder load the same file one after the other.
_last_loaded: dict[tuple[Any, ...], tuple[StateDict, dict[str, Any]]] = {}


def load_clip_state_dict(source: PathLike) -> tuple[StateDict, dict[str, Any]]:
    """CLIP weights under OpenAI's and open_clip's key names.

    Args:
        source: path of a local file (state dict, possibly nested under ``state_dict`` or ``model``;
            OpenAI's TorchScript archive; ``.safetensors``; also a checkpoint of this project or of
            the official RegionCLIP, of which the towers are taken), or an open_clip model with an
            optional tag: ``'RN50'``, ``'RN50/openai'``, ``'RN50@yfcc15m'`` (the tag defaults to
            ``openai``; downloaded once, then taken from open_clip's cache).

    Returns:
        The state dict (``visual.*`` and text keys, floating tensors as float32; not to be
        modified in place), and notes on its origin.

    Raises:
        FileNotFoundError: neither a file nor a known model, or the download failed.
        ValueError: the file is damaged, holds no CLIP weights or such that are not finite, or
            needs code to be read.
    """
    path, name = str(source), str(source)
    if not os.path.isfile(path):
        path = _download(name)
    status = os.stat(path)
    key = (os.path.abspath(path), status.st_mtime_ns, status.st_size)
    if key not in _last_loaded:
        kind, content = read_file(path, 'CLIP weights')
        state_dict = _clip_state_dict(content, path)
        notes = dict(source=name, file=os.path.basename(path), format=kind, tensors=len(state_dict))
        _last_loaded.clear()
        _last_loaded[key] = (state_dict, notes)
    state_dict, notes = _last_loaded[key]
    return dict(state_dict), dict(notes, source=name)


def clear_cache() -> None:
    """Forget the weights last loaded (they stay in memory otherwise)."""
    _last_loaded.clear()


def clip_keys(module: nn.Module) -> dict[str, str]:
    """CLIP's name for each of a module's own tensors (step counters of norms left out).

    A module says where it sits in CLIP by ``clip_prefixes``, pairs of its own prefix and CLIP's,
    for example ``(('layer4.', 'visual.layer4.'), ('attnpool.', 'visual.attnpool.'))``.
    """
    prefixes = getattr(module, 'clip_prefixes', None)
    if prefixes is None:
        raise TypeError(
            f'{type(module).__name__} does not say which CLIP weights are its own '
            '(it has no clip_prefixes); CLIPPretrained serves CLIPResNet, RegionEncoder and '
            'CLIPTextEncoder'
        )
    keys: dict[str, str] = {}
    for key in module.state_dict():
        if key.endswith('num_batches_tracked'):
            continue
        fitting = [pair for pair in prefixes if key.startswith(pair[0])]
        if not fitting:
            raise RuntimeError(f'{type(module).__name__}.{key} has no counterpart in CLIP')
        ours, theirs = max(fitting, key=lambda pair: len(pair[0]))
        keys[key] = theirs + key[len(ours) :]
    return keys


@WEIGHT_INITIALIZERS.register_module()
class CLIPPretrained:
    """Weight initializer that fills a module completely from CLIP weights, or fails by name.

    Used as ``init_cfg=dict(type='CLIPPretrained', checkpoint='RN50/openai')`` on any module that
    offers ``clip_prefixes`` (see :func:`clip_keys`). Sets ``module.weights_source``.

    Args:
        checkpoint: file or name, as :func:`load_clip_state_dict` takes it.
    """

    def __init__(self, checkpoint: PathLike) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Fill the module."""
        state_dict, notes = load_clip_state_dict(self.checkpoint)
        own, keys = module.state_dict(), clip_keys(module)
        problems: list[str] = []
        for key, clip_key in keys.items():
            if clip_key not in state_dict:
                problems.append(f'{key}: the source has no {clip_key}')
            elif state_dict[clip_key].shape != own[key].shape:
                ours, theirs = tuple(own[key].shape), tuple(state_dict[clip_key].shape)
                problems.append(f'{key}: {ours} here, {clip_key} is {theirs} in the source')
        name = type(module).__name__
        if not any(key in state_dict for key in keys.values()):
            wanted = next(iter(keys.values()))
            raise RuntimeError(
                f'{self.checkpoint} holds nothing of {name} (no {wanted} and the like): take a '
                'file that does.'
            )
        if problems:
            shown = '\n  '.join(problems[:10])
            raise RuntimeError(
                f'{self.checkpoint} fits {len(keys) - len(problems)} of the {len(keys)} tensors of '
                f'{name}; nothing was loaded. Does its arch match the weights? Not filled:\n  '
                f'{shown}' + ('\n  ...' if len(problems) > 10 else '')
            )
        with torch.no_grad():
            for key, clip_key in keys.items():
                own[key].copy_(state_dict[clip_key])
        vars(module).update(weights_source=str(self.checkpoint))
        message = f'{name}: matched {len(keys)}/{len(keys)} tensors from {self.checkpoint}'
        print_log(f'{message} ({notes["format"]})', logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'CLIPPretrained: {self.checkpoint}')


def _download(name: str) -> str:
    """Path of the downloaded weights of an open_clip model."""
    arch, _, tag = name.replace('@', '/').partition('/')
    tag = tag or _DEFAULT_TAG
    config = open_clip.pretrained.get_pretrained_cfg(arch, tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(arch)
        hint = f'open_clip has {arch} with the tags {tags}' if tags else 'nor an open_clip model'
        raise FileNotFoundError(
            f'CLIP weights {name!r}: no such file, and {hint}; give the path of a local file '
            "or a name like 'RN50/openai'"
        )
    failures: list[str] = []
    for prefer_hub in (True, False):
        try:
            path = open_clip.pretrained.download_pretrained(config, prefer_hf_hub=prefer_hub)
        except Exception as error:  # whatever the network and two download libraries raise
            failures.append(f'{type(error).__name__}: {error}')
        else:
            if path:
                return path
    reason = failures[-1] if failures else 'open_clip gives no address'
    raise FileNotFoundError(
        f'CLIP weights {name!r} could not be downloaded ({reason}). '
        'Without network, download them elsewhere and give the path of the local file instead, '
        "for example checkpoint='weights/RN50.pt' (OpenAI's archive, a state dict or .safetensors)"
    )


def _clip_state_dict(content: Any, path: str) -> StateDict:
    """The bare CLIP state dict in a file's content."""
    state = find_state_dict(content, path)
    if 'text.positional_embedding' in state:
        # open_clip's name for the same tower in models that could have another one there
        state = {key.removeprefix('text.'): value for key, value in state.items()}
    if not any(key.startswith(_LANDMARKS) for key in state):
        state = by_clips_names(state, path) or state
    if not any(key.startswith(_LANDMARKS) for key in state):
        raise ValueError(
            f'{path} is not a CLIP checkpoint: none of its {len(state)} tensors is named '
            f'{" or ".join(_LANDMARKS)}; its first keys: {list(state)[:5]}'
        )
    refuse_non_finite({k: v for k, v in state.items() if not k.endswith('attn_mask')}, path)
    return state
