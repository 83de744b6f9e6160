# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO, all 80 classes: RN50 from RegionCLIP, settings of OV-COCO.

    bash tools/dist_train.sh configs/supervised/regionclip_rn50_c4_8xb2-1x_coco80.py 8
    python tools/test.py configs/supervised/regionclip_rn50_c4_8xb2-1x_coco80.py \
        work_dirs/regionclip_rn50_c4_8xb2-1x_coco80/iter_90000.pth
"""

_base_ = [
    '../_base_/models/regionclip_rn50_c4.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_transfer_90k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary='data/vocabularies/coco_80_rn50.pth')),
)
load_from = 'checkpoints/regionclip_rn50_with_rpn_coco_80.pth'
