# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot detection: RegionCLIP RN50, annotated boxes, 1203 classes of LVIS.

    python tools/test.py configs/zero_shot/regionclip_rn50_gt_zero-shot_lvis.py \
        checkpoints/regionclip_rn50.pth

One GPU.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_zero_shot.py',
    '../_base_/datasets/ov_lvis_detection.py',
    '../_base_/schedules/test_only.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(vocabulary='data/vocabularies/lvis_1203_rn50.pth')),
    test_cfg=dict(rcnn=dict(score_thr=0.0001, max_per_img=300)),
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.gt_proposals_test_pipeline}}))
test_dataloader = val_dataloader
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
train_dataloader = None  # nothing is trained
load_from = 'checkpoints/regionclip_rn50.pth'
