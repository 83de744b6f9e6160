# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same with CLIP RN50x4: 640-dimensional embeddings."""

_base_ = './regionclip_rn50_c4.py'

model = dict(
    backbone=dict(arch='RN50x4'),
)
