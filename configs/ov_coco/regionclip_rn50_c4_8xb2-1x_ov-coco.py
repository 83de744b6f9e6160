# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: RN50 from RegionCLIP, trained on 48 classes, tested on 65.

    bash tools/dist_train.sh configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py 8
    python tools/test.py configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py \
        work_dirs/regionclip_rn50_c4_8xb2-1x_ov-coco/iter_90000.pth

Published AP50: novel 31.4, all 50.4 (official model zoo).
8 GPUs; 15.8 GB each in a user's log of the official code (thread 7 of its repository).
"""

_base_ = [
    '../_base_/models/regionclip_rn50_c4.py',
    '../_base_/datasets/ov_coco_detection.py',
    '../_base_/schedules/coco_transfer_90k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(
            vocabulary='data/vocabularies/ov_coco_48_rn50.pth',
            test_vocabulary='data/vocabularies/ov_coco_65_rn50.pth',
        )
    )
)
load_from = 'checkpoints/regionclip_rn50_with_rpn_coco_48.pth'
