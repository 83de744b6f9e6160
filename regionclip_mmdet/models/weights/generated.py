# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Models of full size with random weights: the one place that builds them.

For trying things out, timing and comparing where no weights are at hand. ``weights='random'`` of
the inferencer, ``tools/compare_onnx.py --generated``, the benchmarks and the tests use it. (Golden
cases have weights of their own, which must equal those recorded: ``checks/parity``.)
"""

from __future__ import annotations

from typing import TypeVar

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import nn

from ...default_scope import default_scope

GENERATED = 'generated at random, as requested'
# Caffe's localizers see pixel values up to 128; with these, boxes differ moderately from anchors.
_STEM_SCALE, _DELTA_SCALE = 1 / 64, 0.15
AnyModule = TypeVar('AnyModule', bound=nn.Module)


def generated_model(cfg: Config | ConfigDict, text_encoder: bool = True) -> nn.Module:
    """A detector or a pretraining model with random weights, the same at every call.

    Everything runs as it would; what it finds means nothing.

    Args:
        cfg: Config with ``model``; changed: no part names a file any more.
        text_encoder: Add a text encoder where a CLIP backbone has none.
    """
    _remove_init_cfg(cfg.model)
    arch = cfg.model.backbone.get('arch')
    if text_encoder and cfg.model.get('text_encoder') is None and isinstance(arch, str):
        cfg.model.text_encoder = dict(type='CLIPTextEncoder', arch=arch)
    scope = default_scope(cfg.get('default_scope', 'mmdet'))
    with scope, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = fill_weights(MODELS.build(cfg.model))
    if (localizer := getattr(model, 'localizer', None)) is not None:
        with torch.no_grad():
            localizer.rpn_head.rpn_reg.weight.mul_(_DELTA_SCALE)
            if hasattr(localizer.backbone, 'conv1'):
                localizer.backbone.conv1.weight.mul_(_STEM_SCALE)
    for part in model.weight_sources():
        model.get_submodule(part).weights_source = GENERATED
    return model


def fill_weights(module: AnyModule, seed: int = 0) -> AnyModule:
    """Fill weights and norm statistics at random so that no layer is without effect.

    Layers as they are initialized embed all regions nearly alike. Vocabularies stay as they are.

    Args:
        module: Filled in place.
        seed: Seed of the random numbers.

    Returns:
        The module.
    """
    generator = torch.Generator().manual_seed(seed)
    for key, value in module.state_dict().items():
        if not value.is_floating_point() or 'classifier' in key:
            continue
        noise = torch.rand(value.shape, generator=generator) * 2 - 1
        if value.ndim > 1:
            value.copy_(noise * (3 / value[0].numel()) ** 0.5)
        elif key.endswith(('running_var', '.weight')):
            value.copy_(1 + 0.5 * noise)
        else:
            value.copy_(0.1 * noise)
    return module


def _remove_init_cfg(value: object) -> None:
    if isinstance(value, dict):
        value.pop('init_cfg', None)
        for item in value.values():
            _remove_init_cfg(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _remove_init_cfg(item)
