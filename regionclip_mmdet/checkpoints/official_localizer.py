# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the official localizer's tensors (detectron2's RPN) and ours (mmdet's)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Inside a whole model, and in an RPN file of its own.
MODEL_PREFIXES = ('offline_backbone.', 'offline_proposal_generator.')
FILE_PREFIXES = ('backbone.', 'proposal_generator.')
OURS = 'localizer.'

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
