# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reproducible weights of golden cases, named by the official RegionCLIP key layout.

A tensor depends on nothing but its key, its shape and a 32-bit seed: the raw 64-bit stream of
``numpy.random.PCG64(crc32(key) ^ seed)`` (which numpy promises never to change) becomes uniform
numbers in [0, 1), and a rule chosen by the key spreads them. The golden outputs were recorded from
the official code carrying these very weights, so a comparison needs no weight file: it asks for
the shapes of the official state dict (``official_shapes``), converts and loads.

>>> arrays = fill_state_dict({'backbone.conv1.weight': (32, 3, 3, 3)}, seed=1)
>>> tensors = fill_tensors({'backbone.conv1.weight': (32, 3, 3, 3)}, seed=1)
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

Shape = Sequence[int]

# Inputs of a case (text embeddings, pixel statistics) and counters are never generated.
_NOT_GENERATED = tuple(
    re.compile(pattern)
    for pattern in (
        r'(^|\.)(cls|cls_bg|test_cls)_score\.(weight|bias)$',
        r'num_batches_tracked$',
        r'(^|\.)(teacher_)?concept_emb$',
        r'(^|\.)(offline_)?pixel_(mean|std)$',
    )
)

# How a rule turns its number(s) into the standard deviation of a zero-mean tensor, by shape.
_STD_BY_KIND = {
    'std': lambda gain, shape: gain,
    'fan_in': lambda gain, shape: gain / sqrt(max(1, prod(shape[1:]))),
    'fan_0': lambda gain, shape: gain / sqrt(shape[0]),
}

# (kind, parameter(s), key pattern), first match wins; 'uniform' takes its two ends.
_RULES = tuple(
    (kind, parameter, re.compile(pattern))
    for kind, parameter, pattern in (
        # Normalization; the last norm of a residual branch is damped so that depth stays tame.
        ('std', 0.1, r'running_mean$'),
        ('uniform', (0.5, 1.5), r'running_var$'),
        ('uniform', (0.15, 0.55), r'\.layer[1-4]\.\d+\.bn3\.weight$'),
        ('uniform', (0.1, 0.4), r'\.res[2-5]\.\d+\.conv3\.norm\.weight$'),
        ('uniform', (0.5, 1.5), r'(bn[1-3]|downsample\.1|norm|ln_1|ln_2|ln_final)\.weight$'),
        # Embeddings.
        ('std', 0.3, r'token_embedding\.weight$'),
        ('std', 0.5, r'attnpool\.positional_embedding$'),
        ('std', 0.1, r'positional_embedding$'),
        ('fan_0', 1.0, r'text_projection$'),
        # Attention pool.
        ('fan_in', 0.8, r'attnpool\.[qk]_proj\.weight$'),
        ('fan_in', 1.0, r'attnpool\.v_proj\.weight$'),
        ('fan_in', 0.4, r'attnpool\.c_proj\.weight$'),
        # Text transformer.
        ('fan_in', 1.5, r'attn\.in_proj_weight$'),
        ('fan_in', 0.7, r'attn\.out_proj\.weight$'),
        ('fan_in', 1.0, r'mlp\.c_(fc|proj)\.weight$'),
        # Localizer; its first convolution sees pixel values up to 255.
        ('fan_in', sqrt(2.0) / 64.0, r'stem\.conv1\.weight$'),
        ('fan_in', 0.4, r'fpn_lateral\d\.weight$'),
        ('fan_in', 1.0, r'fpn_output\d\.weight$'),
        ('fan_in', 0.7, r'rpn_head\.conv(\.conv\d)?\.weight$'),
        ('fan_in', 2.0, r'rpn_head\.objectness_logits\.weight$'),
        ('fan_in', 0.15, r'rpn_head\.anchor_deltas\.weight$'),
        ('std', 0.3, r'rpn_head\.objectness_logits\.bias$'),
        ('std', 0.1, r'rpn_head\.anchor_deltas\.bias$'),
        # Box and mask heads.
        ('fan_in', 1.5, r'box_predictor\.bbox_pred\.weight$'),
        ('std', 0.3, r'box_predictor\.bbox_pred\.bias$'),
        ('fan_0', sqrt(2.0), r'mask_head\.deconv\.weight$'),
        ('fan_in', 2.0, r'mask_head\.predictor\.weight$'),
        # Everything else.
        ('fan_in', 1.0, r'(downsample\.0|shortcut)\.weight$'),
        ('fan_in', sqrt(2.0), r'weight$'),
        ('std', 0.1, r'bias$'),
    )
)


def is_generated(key: str) -> bool:
    """Whether the generator makes this key (False: counters and inputs of the cases)."""
    return not any(pattern.search(key) for pattern in _NOT_GENERATED)


def uniform_numbers(key: str, count: int, seed: int) -> np.ndarray:
    """``count`` float64 numbers in [0, 1): the upper 53 bits of the key's own stream."""
    stream = np.random.PCG64((zlib.crc32(key.encode('utf-8')) ^ seed) & 0xFFFFFFFF)
    return (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def make_array(key: str, shape: Shape, seed: int) -> np.ndarray:
    """The float32 array of one key."""
    shape = tuple(int(side) for side in shape)
    uniform = uniform_numbers(key, prod(shape), seed)
    for kind, parameter, pattern in _RULES:
        if not pattern.search(key):
            continue
        if kind == 'uniform':
            low, high = parameter
            values = low + (high - low) * uniform
        else:
            std = _STD_BY_KIND[kind](parameter, shape)
            # sqrt(3) makes a uniform number on [-1, 1) one of unit variance.
            values = std * sqrt(3.0) * (2.0 * uniform - 1.0)
        return values.astype(np.float32).reshape(shape)
    raise KeyError(f'no rule generates {key!r}; is it an official key name?')


def fill_state_dict(shapes: Mapping[str, Shape], seed: int) -> dict[str, np.ndarray]:
    """Arrays for every generated key of ``shapes`` (official names); other keys are absent."""
    return {key: make_array(key, shape, seed) for key, shape in shapes.items() if is_generated(key)}


def fill_tensors(shapes: Mapping[str, Shape], seed: int) -> dict[str, Tensor]:
    """:func:`fill_state_dict` as float32 tensors."""
    return {key: torch.from_numpy(a) for key, a in fill_state_dict(shapes, seed).items()}


def fingerprint(key: str, shape: Shape, seed: int) -> int:
    """CRC-32 of the array's bytes."""
    return zlib.crc32(make_array(key, shape, seed).tobytes())
