# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO, all 80 classes: RN50x4 from RegionCLIP, settings of OV-COCO.

    bash tools/dist_train.sh configs/supervised/regionclip_rn50x4_c4_8xb2-1x_coco80.py 8
    python tools/test.py configs/supervised/regionclip_rn50x4_c4_8xb2-1x_coco80.py \
        work_dirs/regionclip_rn50x4_c4_8xb2-1x_coco80/iter_90000.pth
"""

_base_ = './regionclip_rn50_c4_8xb2-1x_coco80.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/coco_80_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_coco_80.pth'
