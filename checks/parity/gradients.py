# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Recorded gradients by official parameter name: their norms and first 64 values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from regionclip_mmdet.checkpoints.official import official_key, rename_official_key

from .comparison import Comparison

NORM, FIRST, TOTAL = 'grad_norm:', 'grad_first64:', 'grad_total_norm'
FIRST_COUNT = 64


def gradient_values(model: nn.Module, names: Sequence[str]) -> dict[str, dict[str, torch.Tensor]]:
    """Norm, first values and largest value of the gradients of some parameters.

    Args:
        model: After ``backward``.
        names: Official names of the parameters.

    Returns:
        By official name; one without a gradient here is absent.
    """
    own = dict(model.named_parameters())
    found = {}
    for name in names:
        parameter = own.get(rename_official_key(name))
        if parameter is not None and parameter.grad is not None:
            grad = parameter.grad
            found[name] = dict(
                norm=grad.norm(), first=grad.flatten()[:FIRST_COUNT], largest=grad.abs().max()
            )
    return found


def compare_gradients(
    comparison: Comparison,
    model: nn.Module | None,
    norm_limit: float,
    prefix: str = '',
    values: dict | None = None,
) -> None:
    """Compare all recorded gradients.

    Args:
        comparison: Takes the differences.
        model: After ``backward``; None if ``values`` are given.
        norm_limit: For norms, relative. Single values may differ by twice that share of the
            largest value, or by what ``grad_values_max_abs`` of the case says.
        prefix: Of the recorded names.
        values: As ``gradient_values`` returns them.
    """
    case = comparison.case
    recorded = [key[len(prefix) :] for key in case.arrays if key.startswith(f'{prefix}{NORM}')]
    if not recorded:
        comparison.fail(f'{prefix}{NORM}*', 'no gradient is recorded')
        return
    names = [key[len(NORM) :] for key in recorded]
    values = gradient_values(model, names) if values is None else values
    share = max(case.limit('grad_values_max_abs', 2e-3), norm_limit)
    for name in names:
        key = f'{prefix}{NORM}{name}'
        if name not in values:
            comparison.fail(key, 'this parameter has no gradient here')
            continue
        comparison.add(key, values[name]['norm'], norm_limit, 'relative')
        largest = max(float(values[name]['largest']), 1e-30)
        comparison.add(
            f'{prefix}{FIRST}{name}', values[name]['first'], share, 'relative', scale=largest
        )
    if TOTAL in case and model is not None:
        grads = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        comparison.add(TOTAL, torch.stack(grads).norm(), norm_limit, 'relative')


def compare_trainable(comparison: Comparison, model: nn.Module, prefixes: Sequence[str]) -> None:
    """Compare which modules are trained with the official list of their prefixes.

    Args:
        comparison: Takes a failure, if there is one.
        model: In training mode.
        prefixes: Official names that trained parameters begin with; each must have some.
    """
    trained = [official_key(k) for k, p in model.named_parameters() if p.requires_grad]
    extra = [key for key in trained if not key.startswith(tuple(prefixes))]
    idle = [prefix for prefix in prefixes if not any(key.startswith(prefix) for key in trained)]
    if extra or idle:
        fault = f'trained here alone: {extra[:3]}; trained officially alone: {idle[:3]}'
        comparison.fail('trainable parameters', fault)
