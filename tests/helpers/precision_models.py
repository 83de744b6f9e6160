# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tiny models and batches whose results in reduced precision can be told from float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import PolygonMasks
from packaging.version import Version
from torch import Tensor, nn

from helpers import tiny_models

FP16_ON_CPU = Version(torch.__version__) >= Version('2.4')
SIZES = ((64, 80), (80, 64))
CAPTIONS = ('a cat on a mat', 'two red balls')
BOXES = [
    torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0], [2.0, 30.0, 30.0, 62.0]]),
    torch.tensor([[0.0, 0.0, 64.0, 80.0], [20.0, 10.0, 60.0, 50.0], [2.0, 2.0, 20.0, 30.0]]),
]


def detector(**settings: object) -> nn.Module:
    model = tiny_models.fill(MODELS.build(tiny_models.detector_config(**settings)), seed=1)
    for part in (model.roi_head.bbox_head.fc_reg, getattr(model.roi_head, 'mask_head', None)):
        if part is not None:
            part.weights_source = 'this test'
    return model


def pretrainer(device: torch.device | str = 'cpu', **settings: object) -> nn.Module:
    """One concept per region, so that labels differ although a random network hardly tells them."""
    config = tiny_models.regionclip_config(
        region_text_head=dict(concept_pool=tiny_models.vocabulary('abcdef')), **settings
    )
    model = tiny_models.fill(MODELS.build(config), seed=1)
    # not in the model's state dict, so not filled with it
    tiny_models.fill(model.teacher, seed=2)
    tiny_models.fill(model.text_encoder, seed=3)
    regions = model.teacher(tiny_models.images(*SIZES), bbox2roi(BOXES))
    apart = regions - regions.mean(0)
    common = F.normalize(regions.mean(0), dim=0)
    head = model.roi_head.region_text_head
    head.concepts = head.teacher_concepts = apart - (apart @ common)[:, None] * common
    return model.to(device)


def samples(
    proposals: list[Tensor] | None = BOXES,
    with_masks: bool = False,
    device: torch.device | str = 'cpu',
) -> list:
    found = tiny_models.samples(*SIZES, captions=CAPTIONS, proposals=proposals)
    for sample in found if with_masks else ():
        boxes = sample.gt_instances.bboxes.numpy()
        polygons = [[box[[0, 1, 2, 1, 2, 3, 0, 3]]] for box in boxes]
        sample.gt_instances.masks = PolygonMasks(polygons, *sample.img_shape)
    return [sample.to(device) for sample in found]
