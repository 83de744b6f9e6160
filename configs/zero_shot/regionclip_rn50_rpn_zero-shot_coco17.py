# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50, the localizer's boxes, 17 novel classes of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50_rpn_zero-shot_coco17.py \
        checkpoints/regionclip_rn50_with_rpn_lvis_866.pth

One GPU.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_fpn_zero_shot.py',
    '../_base_/datasets/ov_coco_detection_novel17.py',
    '../_base_/schedules/test_only.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary='data/vocabularies/ov_coco_17_rn50.pth')),
)
train_dataloader = None  # nothing is trained
load_from = 'checkpoints/regionclip_rn50_with_rpn_lvis_866.pth'
