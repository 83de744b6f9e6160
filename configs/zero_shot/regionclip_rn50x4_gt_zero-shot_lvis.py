# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50x4, annotated boxes, 1203 classes of LVIS.

    python tools/test.py configs/zero_shot/regionclip_rn50x4_gt_zero-shot_lvis.py \
        checkpoints/regionclip_rn50x4.pth

One GPU.
"""

_base_ = './regionclip_rn50_gt_zero-shot_lvis.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/lvis_1203_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4.pth'
