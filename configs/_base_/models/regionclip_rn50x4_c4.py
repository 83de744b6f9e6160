# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same with CLIP RN50x4: 640-dimensional embeddings."""

_base_ = './regionclip_rn50_c4.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(region_encoder=dict(arch='RN50x4'), bbox_head=dict(embed_dim=640)),
)
