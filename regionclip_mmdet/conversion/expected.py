# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which tensors a part must have, inferred from the sizes of those that are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from ..checkpoints.parts import REGION_ENCODER, TEACHER, TEACHER_ENCODER, part_of
from ..config_paths import config_path
from ..default_scope import default_scope
from ..models.backbones import CLIP_RESNETS
from ..models.backbones.clip_arch import CLIPResNetArch, resolve_arch

Shapes = dict[str, tuple[int, ...]]
UNPUBLISHED = 'of no published size'
_LOCALIZER_CONFIG = '_base_/localizers/rpn_r50_{}.py'


class IncompleteError(ValueError):
    """A part lacks so much that its sizes cannot be told."""


def expected_shapes(part: str, state: Mapping[str, Tensor]) -> tuple[Shapes, str]:
    """Names and shapes of all tensors of a part.

    Args:
        part: one of ``checkpoints.parts.PARTS``.
        state: tensors by our names, those of the part among them.

    Returns:
        The shapes by name (step counters left out), and what the part is in words.

    Raises:
        IncompleteError: A layer that determines a size is missing.
    """
    own = {k[len(part) + 1 :]: v for k, v in state.items() if part_of(k) == part}
    shapes, words = _DESCRIBERS[part.rpartition('.')[2]](own, part, state)
    return {f'{part}.{key}': shape for key, shape in shapes.items()}, words


def infer_arch(state: Mapping[str, Tensor], owner: str = '') -> CLIPResNetArch:
    """Sizes of a CLIP ResNet, from the tensors of backbone and region encoder.

    Args:
        state: tensors by our names.
        owner: ``''`` for the student or detector, ``'teacher.'`` for the teacher.

    Raises:
        IncompleteError: A stage or a layer that determines a size is missing.
    """
    backbone = f'{owner}backbone.'
    encoder = f'{TEACHER_ENCODER if owner else REGION_ENCODER}.'
    width = _tensor(state, f'{backbone}layer1.0.conv1.weight').shape[0]
    embed_dim = _tensor(state, f'{encoder}attnpool.c_proj.weight').shape[0]
    tokens = _tensor(state, f'{encoder}attnpool.positional_embedding').shape[0]
    layers = [_count(state, f'{backbone}layer{stage}.') for stage in (1, 2, 3)]
    layers.append(_count(state, f'{encoder}layer4.'))
    image_size = 32 * isqrt(tokens - 1)
    return resolve_arch(
        dict(width=width, layers=layers, embed_dim=embed_dim, image_size=image_size)
    )


def arch_name(arch: CLIPResNetArch) -> str | None:
    """The published model with these sizes."""
    return next((name for name, known in CLIP_RESNETS.items() if known == arch), None)


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise IncompleteError(f'{key} is missing')
    return state[key]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {int(m[1]) for k in state if (m := re.match(re.escape(prefix) + r'(\d+)\.', k))}
    if not numbers:
        raise IncompleteError(f'{prefix}* is missing')
    gap = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if gap < len(numbers):  # also keeps a number such as 10**9 from being built
        raise IncompleteError(f'{prefix}{gap}.* is missing')
    return gap


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    with default_scope(), torch.device('meta'):
        state = build().state_dict()
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith('num_batches_tracked')}


def _image_tower(own: Mapping, part: str, state: Mapping) -> tuple[Shapes, str]:
    owner = f'{TEACHER}.' if part.startswith(f'{TEACHER}.') else ''
    kind = 'CLIPResNet' if part.endswith('backbone') else 'RegionEncoder'
    arch = infer_arch(state, owner)
    words = arch_name(arch) or f'{UNPUBLISHED}: {arch}'
    return _shapes(lambda: MODELS.build(dict(type=kind, arch=vars(arch)))), words


def _text_tower(own: Mapping, part: str, state: Mapping) -> tuple[Shapes, str]:
    vocab_size, width = _tensor(own, 'model.token_embedding.weight').shape
    arch: dict[str, Any] = dict(
        context_length=_tensor(own, 'model.positional_embedding').shape[0],
        vocab_size=vocab_size,
        width=width,
        heads=max(width // 64, 1),
        layers=_count(own, 'model.transformer.resblocks.'),
        embed_dim=_tensor(own, 'model.text_projection').shape[1],
    )
    shapes = _shapes(lambda: MODELS.build(dict(type='CLIPTextEncoder', arch=arch)))
    return shapes, f'{arch["layers"]} layers of width {width}'


def _localizer(own: Mapping, part: str, state: Mapping) -> tuple[Shapes, str]:
    kind = 'c4'
    if any(key.startswith('neck.') or key.startswith('backbone.layer4.') for key in own):
        normed = any('.bn.' in key or key.startswith('rpn_head.rpn_conv.1.') for key in own)
        kind = 'fpn_lsj' if normed else 'fpn'
    cfg = Config.fromfile(config_path(_LOCALIZER_CONFIG.format(kind))).localizer
    cfg.init_cfg = cfg.backbone.init_cfg = None
    return _shapes(lambda: MODELS.build(cfg)), f'R50-{kind.replace("_", "-").upper()}'


def _box_deltas(own: Mapping, part: str, state: Mapping) -> tuple[Shapes, str]:
    return dict(weight=(4, infer_arch(state).embed_dim), bias=(4,)), 'class-agnostic'


def _masks(own: Mapping, part: str, state: Mapping) -> tuple[Shapes, str]:
    channels = _tensor(own, 'upsample.weight').shape[1]
    head = dict(
        type='RegionMaskHead',
        in_channels=infer_arch(state).stage_channels(4),
        conv_out_channels=channels,
    )
    return _shapes(lambda: MODELS.build(head)), 'class-agnostic'


_DESCRIBERS: dict[str, Callable[[Mapping, str, Mapping], tuple[Shapes, str]]] = dict(
    backbone=_image_tower,
    region_encoder=_image_tower,
    text_encoder=_text_tower,
    localizer=_localizer,
    fc_reg=_box_deltas,
    mask_head=_masks,
)
