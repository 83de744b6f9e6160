# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same with CLIP RN50x4: 640-dimensional embeddings, masks of 18 x 18."""

_base_ = './regionclip_rn50_fpn_lvis_mask.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        region_encoder=dict(arch='RN50x4'),
        bbox_head=dict(embed_dim=640),
        mask_head=dict(in_channels=2560),
    ),
)
