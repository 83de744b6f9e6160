# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer R50-FPN, trained on boxes of the 866 base classes of LVIS.

    bash tools/dist_train.sh configs/localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866.py 8

The official one was trained as part of a Mask R-CNN (detectron2); here the RPN alone is, with its
settings. 8 GPUs x 2 images.
"""

_base_ = [
    '../_base_/models/rpn_r50-caffe-fpn_training.py',
    '../_base_/datasets/ov_lvis_detection.py',
    '../_base_/schedules/rpn_180k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        frozen_stages=1,
        init_cfg=dict(type='PartPretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
    rpn_head=dict(loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
)
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomChoiceResize',
        scales=[640, 672, 704, 736, 768, 800],
        resize_type='ResizeShortestEdge',
        max_size=1333,
        backend='pillow',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file='data/lvis_v1/annotations/ov_lvis_val_annotated.json',
    proposal_nums=(100, 300, 1000),
)
test_evaluator = val_evaluator
