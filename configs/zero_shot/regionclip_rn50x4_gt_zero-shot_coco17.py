# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50x4, annotated boxes, 17 novel classes of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50x4_gt_zero-shot_coco17.py \
        checkpoints/regionclip_rn50x4.pth

One GPU.
"""

_base_ = './regionclip_rn50_gt_zero-shot_coco17.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_17_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4.pth'
