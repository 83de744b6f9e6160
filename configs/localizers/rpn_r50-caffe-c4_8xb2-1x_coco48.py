# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer R50-C4, trained on boxes of the 48 base classes of OV-COCO.

    bash tools/dist_train.sh configs/localizers/rpn_r50-caffe-c4_8xb2-1x_coco48.py 8

The official one was trained as part of a Mask R-CNN (detectron2, 1x); here the RPN alone is, with
its settings. 8 GPUs x 2 images.
"""

_base_ = [
    '../_base_/models/rpn_r50-caffe-c4_training.py',
    '../_base_/datasets/ov_coco_detection.py',
    '../_base_/schedules/rpn_90k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        frozen_stages=1,
        init_cfg=dict(type='PartPretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
    rpn_head=dict(loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
)

val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file='data/coco/annotations/ov_coco_val_all.json',
    proposal_nums=(100, 300, 1000),
)
test_evaluator = val_evaluator
