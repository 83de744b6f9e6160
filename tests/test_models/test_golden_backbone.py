# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Case a: backbone and region features equal the official code's."""

import pytest
import torch
from golden import GoldenCase, max_abs
from mmdet.structures.bbox import bbox2roi
from torch import nn

from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.region_encoders import RegionEncoder


@pytest.mark.parametrize(
    ('name', 'arch'),
    [
        ('a_backbone_rn50', 'RN50'),
        ('a_backbone_rn50_odd', 'RN50'),
        ('a_backbone_rn50x4', 'RN50x4'),
    ],
)
@torch.no_grad()
def test_backbone_and_region_features(name: str, arch: str) -> None:
    case = GoldenCase(name)
    limits = case.meta['thresholds']
    backbone, encoder = CLIPResNet(arch).eval(), RegionEncoder(arch, chunk_size=5).eval()
    case.load_weights(backbone, 'backbone.')
    case.load_weights(encoder, 'roi_head.region_encoder.')
    regressor = nn.Linear(encoder.embed_dim, 4)
    case.load_weights(regressor, 'roi_head.bbox_head.fc_reg.')

    feats = backbone(case.batch(['image']))
    assert max_abs(feats[0][:, ::16], case['res4_every16th']) < limits['res4_max_abs']
    rois = bbox2roi([case['boxes']])
    maps = encoder.region_maps(feats, rois)
    assert max_abs(maps.mean(1), case['res5_channel_mean']) < limits['res5_max_abs']
    embeddings = encoder(feats, rois)
    assert max_abs(embeddings, case['region_features']) < limits['region_features_max_abs']
    cosine = torch.cosine_similarity(embeddings, case['region_features'])
    assert cosine.min() > limits['region_features_cos']
    assert max_abs(regressor(embeddings), case['bbox_deltas']) < 1e-3

    bgr = backbone(case.batch(['image']).flip(1))[0][:, ::16]
    assert max_abs(bgr, case['res4_every16th']) > 100 * limits['res4_max_abs']
