# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the official RegionCLIP's tensors, of its localizer's (detectron2's RPN), and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from .parts import (
    BOX_DELTAS,
    LOCALIZER,
    MASK_HEAD,
    REGION_ENCODER,
    TEACHER_BACKBONE,
    TEACHER_ENCODER,
    TEXT_ENCODER,
)

# Official prefix -> ours; the first that fits wins. What is not listed keeps its name.
RECOGNIZER = (
    ('backbone.layer4.', f'{REGION_ENCODER}.layer4.'),
    ('backbone.attnpool.', f'{REGION_ENCODER}.attnpool.'),
    ('teacher_backbone.layer4.', f'{TEACHER_ENCODER}.layer4.'),
    ('teacher_backbone.attnpool.', f'{TEACHER_ENCODER}.attnpool.'),
    ('teacher_backbone.', f'{TEACHER_BACKBONE}.'),
    ('lang_encoder.', f'{TEXT_ENCODER}.model.'),
    ('roi_heads.box_predictor.bbox_pred.', f'{BOX_DELTAS}.'),
    ('roi_heads.mask_head.deconv.', f'{MASK_HEAD}.upsample.'),
    ('roi_heads.mask_head.predictor.', f'{MASK_HEAD}.conv_logits.'),
)
# Prefixes of a localizer's backbone and head, in a whole model and in an RPN file of its own.
MODEL_PREFIXES = ('offline_backbone.', 'offline_proposal_generator.')
FILE_PREFIXES = ('backbone.', 'proposal_generator.')

_CELL_ANCHORS = re.compile(
    r'(?:offline_)?proposal_generator\.anchor_generator\.cell_anchors\.(\d+)'
)
_SIZES, _RATIOS = (32.0, 64.0, 128.0, 256.0, 512.0), (0.5, 1.0, 2.0)
# What the localizer configs undo: BGR, 0..255
_PIXEL_MEAN, _PIXEL_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)

# Official name without prefix, what to subtract from its first number, our name; exactly one rule
# fits each tensor.
_WB = '(weight|bias)'
_BACKBONE_RULES = (
    (rf'stem\.conv1\.{_WB}', 0, 'backbone.conv1.{}'),
    (r'stem\.conv1\.norm\.(\w+)', 0, 'backbone.bn1.{}'),
    (r'res(\d)\.(\d+)\.conv(\d)\.weight', 1, 'backbone.layer{}.{}.conv{}.weight'),
    (r'res(\d)\.(\d+)\.conv(\d)\.norm\.(\w+)', 1, 'backbone.layer{}.{}.bn{}.{}'),
    (r'res(\d)\.(\d+)\.shortcut\.weight', 1, 'backbone.layer{}.{}.downsample.0.weight'),
    (r'res(\d)\.(\d+)\.shortcut\.norm\.(\w+)', 1, 'backbone.layer{}.{}.downsample.1.{}'),
    (rf'fpn_lateral(\d)\.{_WB}', 2, 'neck.lateral_convs.{}.conv.{}'),
    (rf'fpn_output(\d)\.{_WB}', 2, 'neck.fpn_convs.{}.conv.{}'),
    (r'fpn_lateral(\d)\.norm\.(\w+)', 2, 'neck.lateral_convs.{}.bn.{}'),
    (r'fpn_output(\d)\.norm\.(\w+)', 2, 'neck.fpn_convs.{}.bn.{}'),
)
_HEAD_RULES = (
    (rf'rpn_head\.conv\.{_WB}', 0, 'rpn_head.rpn_conv.{}'),
    (rf'rpn_head\.conv\.conv(\d)\.{_WB}', 0, 'rpn_head.rpn_conv.{}.conv.{}'),
    (rf'rpn_head\.objectness_logits\.{_WB}', 0, 'rpn_head.rpn_cls.{}'),
    (rf'rpn_head\.anchor_deltas\.{_WB}', 0, 'rpn_head.rpn_reg.{}'),
)


def rename_official_key(key: str) -> str:
    """Our name of a tensor of the official recognizer, teacher, text encoder or heads."""
    for official, ours in RECOGNIZER:
        if key.startswith(official):
            return ours + key[len(official) :]
    return key


def official_key(key: str) -> str:
    """The inverse of ``rename_official_key``."""
    for official, ours in RECOGNIZER:
        if key.startswith(ours):
            return official + key[len(ours) :]
    return key


def rename_official_localizer_key(key: str) -> str | None:
    """Our name (``localizer.*``) of an official localizer tensor.

    Tensors are kept as they are: detectron2 and mmdet agree in the order of anchors (with
    ``scale_major=False``) and of box deltas.

    Args:
        key: ``offline_backbone.*`` or ``offline_proposal_generator.*``, as in a whole model.

    Returns:
        None for tensors that are recomputed here: anchors.

    Raises:
        KeyError: Not the name of a localizer's tensor.
    """
    for prefix, rules in zip(MODEL_PREFIXES, (_BACKBONE_RULES, _HEAD_RULES), strict=True):
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :].removeprefix('bottom_up.')
        if rest.startswith('anchor_generator.'):
            return None
        for pattern, step, ours in rules:
            if match := re.fullmatch(pattern, rest):
                first, *others = match.groups()
                first = str(int(first) - step) if first.isdecimal() else first
                return f'{LOCALIZER}.{ours.format(first, *others)}'
    raise KeyError(
        f'{key} is not the name of an official localizer tensor (R50-C4 or R50-FPN RPN).'
    )


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
