# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the tensors in the official localizers."""

from __future__ import annotations

from regionclip_mmdet.checkpoints.official import MODEL_PREFIXES


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
