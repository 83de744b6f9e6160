# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Recognition alone: RegionCLIP RN50x4 names annotated boxes with the 65 names of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50x4_gt_cls_coco65.py \
        checkpoints/regionclip_rn50x4.pth

Accuracy and AP over every pair of box and name, without the threshold and NMS of published AP.
Published: not found. Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50_gt_cls_coco65.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_65_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4.pth'
