# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the official localizer's tensors (detectron2's RPN) and ours (mmdet's)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

# Inside a whole model, and in an RPN file of its own.
MODEL_PREFIXES = ('offline_backbone.', 'offline_proposal_generator.')
FILE_PREFIXES = ('backbone.', 'proposal_generator.')
OURS = 'localizer.'

_CELL_ANCHORS = re.compile(
    r'(?:offline_)?proposal_generator\.anchor_generator\.cell_anchors\.(\d+)'
)
_SIZES, _RATIOS = (32.0, 64.0, 128.0, 256.0, 512.0), (0.5, 1.0, 2.0)
# What the localizer configs undo: BGR, 0..255
_PIXEL_MEAN, _PIXEL_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)

# (pattern of the official name without prefix, our name); exactly one fits each tensor
_BACKBONE = (
    (r'stem\.conv1\.(?:weight|bias)', lambda m: f'backbone.conv1.{_leaf(m)}'),
    (r'stem\.conv1\.norm\.\w+', lambda m: f'backbone.bn1.{_leaf(m)}'),
    (
        r'res(\d)\.(\d+)\.conv(\d)\.weight',
        lambda m: f'backbone.layer{int(m[1]) - 1}.{m[2]}.conv{m[3]}.weight',
    ),
    (
        r'res(\d)\.(\d+)\.conv(\d)\.norm\.\w+',
        lambda m: f'backbone.layer{int(m[1]) - 1}.{m[2]}.bn{m[3]}.{_leaf(m)}',
    ),
    (
        r'res(\d)\.(\d+)\.shortcut\.weight',
        lambda m: f'backbone.layer{int(m[1]) - 1}.{m[2]}.downsample.0.weight',
    ),
    (
        r'res(\d)\.(\d+)\.shortcut\.norm\.\w+',
        lambda m: f'backbone.layer{int(m[1]) - 1}.{m[2]}.downsample.1.{_leaf(m)}',
    ),
    (
        r'fpn_lateral(\d)\.(?:weight|bias)',
        lambda m: f'neck.lateral_convs.{int(m[1]) - 2}.conv.{_leaf(m)}',
    ),
    (
        r'fpn_output(\d)\.(?:weight|bias)',
        lambda m: f'neck.fpn_convs.{int(m[1]) - 2}.conv.{_leaf(m)}',
    ),
    (
        r'fpn_lateral(\d)\.norm\.\w+',
        lambda m: f'neck.lateral_convs.{int(m[1]) - 2}.bn.{_leaf(m)}',
    ),
    (
        r'fpn_output(\d)\.norm\.\w+',
        lambda m: f'neck.fpn_convs.{int(m[1]) - 2}.bn.{_leaf(m)}',
    ),
)
_HEAD = (
    (r'rpn_head\.conv\.(?:weight|bias)', lambda m: f'rpn_head.rpn_conv.{_leaf(m)}'),
    (
        r'rpn_head\.conv\.conv(\d)\.(?:weight|bias)',
        lambda m: f'rpn_head.rpn_conv.{m[1]}.conv.{_leaf(m)}',
    ),
    (r'rpn_head\.objectness_logits\.(?:weight|bias)', lambda m: f'rpn_head.rpn_cls.{_leaf(m)}'),
    (r'rpn_head\.anchor_deltas\.(?:weight|bias)', lambda m: f'rpn_head.rpn_reg.{_leaf(m)}'),
)


def _leaf(match: re.Match) -> str:
    return match[0].rsplit('.', 1)[-1]


def rename_official_localizer_key(key: str) -> str | None:
    """Our name (``localizer.*``) of an official localizer tensor.

    Args:
        key: ``offline_backbone.*`` or ``offline_proposal_generator.*``, as in a whole model.

    Returns:
        None for tensors that are recomputed here: anchors.

    Raises:
        KeyError: Not the name of a localizer's tensor.
    """
    for prefix, rules in zip(MODEL_PREFIXES, (_BACKBONE, _HEAD)):
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :].removeprefix('bottom_up.')
        if rest.startswith('anchor_generator.'):
            return None
        for pattern, ours in rules:
            match = re.fullmatch(pattern, rest)
            if match:
                return OURS + ours(match)
    raise KeyError(
        f'{key} is not the name of an official localizer tensor (R50-C4 or R50-FPN RPN).'
    )


def convert_official_localizer(
    state_dict: Mapping[str, Tensor], prefixes: tuple[str, str] = MODEL_PREFIXES
) -> dict[str, Tensor]:
    """The localizer's part of an official state dict, by our names.

    Everything is kept as it is: detectron2 and mmdet agree in the order of anchors (with
    ``scale_major=False``) and of box deltas. A C4 model's last stage (``res5``), which such files
    carry in their RoI heads, is no part of the localizer.

    Args:
        state_dict: Tensors by official name.
        prefixes: Of backbone and proposal generator: ``MODEL_PREFIXES`` in a whole model,
            ``FILE_PREFIXES`` in an RPN file.

    Returns:
        ``localizer.*`` tensors.

    Raises:
        KeyError: A tensor below a prefix is unknown.
    """
    converted = {}
    for key, tensor in state_dict.items():
        for prefix, model_prefix in zip(prefixes, MODEL_PREFIXES):
            if key.startswith(prefix):
                ours = rename_official_localizer_key(model_prefix + key[len(prefix) :])
                if ours is not None:
                    converted[ours] = tensor
    return converted


def official_localizer_keys(num_fpn_levels: int = 0, fpn_norm: bool = False) -> list[str]:
    """Names of all tensors of an official R50 localizer, as in a whole model.

    Args:
        num_fpn_levels: 0 for C4; 4 for FPN (its fifth level has no tensors).
        fpn_norm: Whether FPN convolutions have norms and no bias, and the head two convolutions
            (the LSJ localizer).
    """
    fpn = num_fpn_levels > 0
    norm = ('weight', 'bias', 'running_mean', 'running_var')
    keys = ['stem.conv1.weight', *(f'stem.conv1.norm.{n}' for n in norm)]
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3 if fpn else 0)):
        for block in range(blocks):
            convs = ['conv1', 'conv2', 'conv3', *(['shortcut'] if block == 0 else [])]
            for conv in convs:
                name = f'res{stage}.{block}.{conv}'
                keys += [f'{name}.weight', *(f'{name}.norm.{n}' for n in norm)]
    keys = [('bottom_up.' if fpn else '') + key for key in keys]
    for level in range(2, 2 + num_fpn_levels):
        for kind in ('lateral', 'output'):
            rest = [f'norm.{n}' for n in norm] if fpn_norm else ['bias']
            keys += [f'fpn_{kind}{level}.{leaf}' for leaf in ('weight', *rest)]
    convs = ('conv.conv0', 'conv.conv1') if fpn_norm else ('conv',)
    head = [
        f'rpn_head.{layer}.{leaf}'
        for layer in (*convs, 'objectness_logits', 'anchor_deltas')
        for leaf in ('weight', 'bias')
    ]
    return [MODEL_PREFIXES[0] + k for k in keys] + [MODEL_PREFIXES[1] + k for k in head]


def check_anchors(state_dict: Mapping[str, Tensor]) -> None:
    """Refuse a localizer whose boxes start from other anchors than the configs' here.

    Args:
        state_dict: Tensors by official name. Most files hold no anchors, and are not checked.

    Raises:
        ValueError: Its anchors have other sizes or ratios.
    """
    levels = {int(m[1]): v for k, v in state_dict.items() if (m := _CELL_ANCHORS.fullmatch(k))}
    for level, anchors in levels.items():
        sizes = _SIZES if len(levels) == 1 else _SIZES[level : level + 1]
        if not sizes:
            raise ValueError(f'This localizer has anchors at level {level}; 5 levels are known.')
        sides = [(s / sqrt(r), s * sqrt(r)) for s in sizes for r in _RATIOS]
        wanted = torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in sides])
        if anchors.shape != wanted.shape or not torch.allclose(
            anchors.float().cpu(), wanted, atol=1e-2
        ):
            raise ValueError(
                f'This localizer starts from other anchors than those of RegionCLIP (sizes 32 to '
                f'512, ratios 0.5, 1, 2) at level {level}: shape {tuple(anchors.shape)}, the first '
                f'{[round(x, 1) for x in anchors.flatten()[:4].tolist()]} instead of '
                f'{[round(x, 1) for x in wanted[0].tolist()]}.'
            )


def other_normalization(state_dict: Mapping[str, Tensor]) -> str:
    """How a localizer's file normalizes images, if not as the configs here say; else ``''``."""
    said = []
    for name, usual in (('pixel_mean', _PIXEL_MEAN), ('pixel_std', _PIXEL_STD)):
        if name not in state_dict:
            continue
        values = state_dict[name].flatten().float().cpu()
        if len(values) != 3 or not torch.allclose(values, torch.tensor(usual), atol=0.01):
            said.append(f'{name.removeprefix("pixel_")}={values[:3].tolist()}')
    return ', '.join(said)
