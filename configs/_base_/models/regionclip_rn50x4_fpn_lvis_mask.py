# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same with CLIP RN50x4: 640-dimensional embeddings, masks of 18 x 18."""

_base_ = './regionclip_rn50_fpn_lvis_mask.py'

model = dict(
    backbone=dict(arch='RN50x4'),
)
