# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: RN50 from RegionCLIP, trained on 48 names, tested on 65.

    bash tools/dist_train.sh configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py 8
    python tools/test.py configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py \
        work_dirs/regionclip_rn50_c4_8xb2-1x_ov-coco/iter_90000.pth

Published AP50, novel / base / all: 31.4 / 57.1 / 50.4
(novel, all: official model zoo; base: second-hand). Not yet run here.
8 GPUs; about 16 GB each (a user's log of the official code).
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
