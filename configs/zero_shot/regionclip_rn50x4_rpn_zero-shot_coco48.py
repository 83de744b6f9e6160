# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50x4, the localizer's boxes, 48 base classes of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50x4_rpn_zero-shot_coco48.py \
        checkpoints/regionclip_rn50x4_with_rpn_lvis_866.pth

One GPU.
"""

_base_ = './regionclip_rn50_rpn_zero-shot_coco48.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_48_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_lvis_866.pth'
