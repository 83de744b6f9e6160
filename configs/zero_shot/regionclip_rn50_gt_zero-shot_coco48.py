# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50, annotated boxes, 48 base classes of OV-COCO.

    python tools/test.py configs/zero_shot/regionclip_rn50_gt_zero-shot_coco48.py \
        checkpoints/regionclip_rn50.pth

One GPU.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_zero_shot.py',
    '../_base_/datasets/ov_coco_detection_base48.py',
    '../_base_/schedules/test_only.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary='data/vocabularies/ov_coco_48_rn50.pth')),
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.gt_proposals_test_pipeline}}))
test_dataloader = val_dataloader
train_dataloader = None  # nothing is trained
load_from = 'checkpoints/regionclip_rn50.pth'
