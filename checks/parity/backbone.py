# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of the image tower: C4 map, RoIAlign, layer4, region features, box deltas."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.backbones.folding import conv_norm

from . import models
from .case import Case
from .comparison import Comparison

WHAT = 'backbone, RoIAlign, layer4, region features, box deltas'
MARKS = ('res4', 'res5_channel_mean', 'roi_first8ch')
NEEDED = ('res4', 'region_features', 'bbox_deltas')
# Every so many channels of the C4 map are kept in trimmed copies.
EVERY_16TH = 'res4_every16th'


@torch.no_grad()
def run(case: Case, comparison: Comparison) -> None:
    """Compare one image and the features of its boxes, stage by stage."""
    arch = models.arch_of(case, case['region_features'].shape[1])
    model = models.build(models.detector_config(models.DETECTOR, arch)).eval()
    models.load_detector(model, models.official_weights(case, 'detector_shapes', arch))
    model.to(case.device)
    batch, _ = models.preprocess(model.data_preprocessor, [case['image']])
    limit = case.limit('res4_max_abs', 2e-4)

    maps = _stages(model.backbone, batch)
    c4 = model.backbone(batch)
    for name, ours in (
        ('stem_first16ch', maps['stem'][:, :16, ::4, ::4]),
        ('layer1_first16ch', maps['layer1'][:, :16, ::2, ::2]),
        ('layer2_first16ch', maps['layer2'][:, :16]),
        ('stage_mean', torch.stack([maps[f'layer{i}'].mean() for i in (1, 2, 3)])),
        ('stage_std', torch.stack([maps[f'layer{i}'].std() for i in (1, 2, 3)])),
    ):
        if name in case:
            comparison.add(name, ours, limit)
    comparison.add('res4', c4[0], limit)
    if EVERY_16TH in case:
        comparison.add(EVERY_16TH, c4[0][:, ::16], limit)

    encoder, rois = model.roi_head.region_encoder, bbox2roi([case['boxes']])
    aligned = encoder.roi_align(c4[0], rois)
    if 'roi_first8ch' in case:
        comparison.add('roi_first8ch', aligned[:, :8], limit)
    layer4 = encoder.region_maps(c4, rois)
    layer4_limit = case.limit('res5_max_abs', 1e-3)
    if 'res5_first16ch' in case:
        comparison.add('res5_first16ch', layer4[:, :16], layer4_limit)
    comparison.add('res5_channel_mean', layer4.mean(1), layer4_limit)
    embeddings = encoder(c4, rois)
    default = 2e-4 if arch == 'RN50' else 1e-3
    comparison.add('region_features', embeddings, case.limit('region_features_max_abs', default))
    cosine = torch.cosine_similarity(embeddings, case['region_features'])
    comparison.add(
        'cosine of region_features',
        cosine,
        1 - case.limit('region_features_cos', 0.999999),
        recorded=torch.ones(len(rois)),
    )
    comparison.add('bbox_deltas', model.roi_head.bbox_head.fc_reg(embeddings), 1e-3)


def _stages(backbone: CLIPResNet, batch: Tensor) -> dict[str, Tensor]:
    """Maps after each stage; ``stem`` is the third norm's output, before ReLU and pooling."""
    x = batch
    for number in (1, 2, 3):
        x = conv_norm(x, getattr(backbone, f'conv{number}'), getattr(backbone, f'bn{number}'))
        maps = dict(stem=x)
        x = x.relu()
    x = batch
    for step in range(4):
        x = backbone.run_steps(x, step, step + 1)
        if step:
            maps[f'layer{step}'] = x
    return maps
