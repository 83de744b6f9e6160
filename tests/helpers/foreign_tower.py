# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""An image tower that is none of ours: timm's ConvNeXt, with nothing but what the pages ask for.

An image becomes ``(feature map,)``, the map with RoIs becomes embeddings. It knows no steps, no
architecture by name and no chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from mmcv.ops import RoIAlign
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from torch import Tensor, nn

from helpers import tiny_models

SIZES = dict(depths=(1, 1, 1, 1), dims=(8, 16, 32, 64))
RANDOM = dict(type='RandomWeights')


def convnext() -> nn.Module:
    return timm.create_model('convnext_atto', pretrained=False, **SIZES)


@MODELS.register_module()
class ConvNeXtMap(BaseModule):
    """Images ``(B, 3, H, W)`` to ``(map,)`` of ``(B, 32, H / 16, W / 16)``."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        whole = convnext()
        self.stem, self.stages = whole.stem, whole.stages[:3]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.stages(self.stem(x)),)


@MODELS.register_module()
class ConvNeXtRegions(BaseModule):
    """``(map,)`` and RoIs ``(R, 5)`` to embeddings ``(R, D)``."""

    def __init__(self, embed_dim: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.embed_dim = embed_dim
        self.roi_align = RoIAlign(4, 1 / 16, 2, aligned=True)
        self.stage = convnext().stages[3]
        self.norm = nn.LayerNorm(64)
        self.proj = nn.Linear(64, embed_dim, bias=False)

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        return self.embed(self.pool(feats, rois))

    def pool(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        return self.stage(self.roi_align(feats[0].contiguous(), rois))

    def embed(self, maps: Tensor) -> Tensor:
        return self.proj(self.norm(maps.mean((2, 3))))


@MODELS.register_module()
class ConvNeXtRegionsWithMaps(ConvNeXtRegions):
    """The same for detectors with masks."""

    map_channels = 64

    def region_maps(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        return self.pool(feats, rois)


def tower(with_maps: bool = False) -> dict[str, dict]:
    """Configs of both halves."""
    kind = 'ConvNeXtRegionsWithMaps' if with_maps else 'ConvNeXtRegions'
    return dict(
        backbone=dict(type='ConvNeXtMap', init_cfg=RANDOM),
        region_encoder=dict(type=kind, embed_dim=32, init_cfg=RANDOM),
    )


def detector_config(with_mask: bool = False, **settings: object) -> ConfigDict:
    """``tiny_models.detector_config`` with this tower."""
    own = tower(with_maps=with_mask)
    config = tiny_models.detector_config(with_mask=with_mask, **settings)
    config.backbone, config.roi_head.region_encoder = own['backbone'], own['region_encoder']
    if with_mask:
        config.roi_head.mask_head.in_channels = 64
    return config


def regionclip_config(student: dict, teacher: dict, **settings: object) -> ConfigDict:
    """``tiny_models.regionclip_config`` with given towers."""
    scale = settings.pop('scale', 1.0)
    config = tiny_models.regionclip_config(
        roi_head=dict(region_encoder=student['region_encoder']),
        teacher=dict(teacher, scale=scale),
        **settings,
    )
    config.backbone = student['backbone']
    return config


def spread(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that tell regions apart: ConvNeXt starts with scaled-down blocks."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.rand(parameter.shape, generator=generator) - 0.5
        with torch.no_grad():
            parameter.add_(0.2 * noise)
    return model
