# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot: RegionCLIP RN50x4 names the localizer's boxes with the 17 novel names of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50x4_rpn_zero-shot_coco17.py \
        checkpoints/regionclip_rn50x4_with_rpn_lvis_866.pth

Published: not found (the paper has it in table 4). Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50_rpn_zero-shot_coco17.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_17_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_lvis_866.pth'
