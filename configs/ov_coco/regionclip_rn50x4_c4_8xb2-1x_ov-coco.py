# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: RN50x4 from RegionCLIP, trained on 48 classes, tested on 65.

    bash tools/dist_train.sh configs/ov_coco/regionclip_rn50x4_c4_8xb2-1x_ov-coco.py 8
    python tools/test.py configs/ov_coco/regionclip_rn50x4_c4_8xb2-1x_ov-coco.py \
        work_dirs/regionclip_rn50x4_c4_8xb2-1x_ov-coco/iter_90000.pth

8 GPUs.
"""

_base_ = './regionclip_rn50_c4_8xb2-1x_ov-coco.py'

model = dict(
    backbone=dict(arch='RN50x4'),
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_48_rn50x4.pth',
            test_vocabulary='data/vocabularies/ov_coco_65_rn50x4.pth',
        ),
    ),
)
load_from = 'checkpoints/regionclip_rn50x4_with_rpn_coco_48.pth'
