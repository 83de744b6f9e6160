# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A localizer for a dataset of your own: the one of LVIS' 866 classes, trained on with your boxes.

    python tools/train.py configs/custom/rpn_r50_fpn_custom.py

Classes and files are those of configs/_base_/datasets/custom_detection.py; the names do not matter
to it. It begins with the official localizer, converted by
`python tools/convert_checkpoint.py downloads/rpn_lvis_866.pth -o checkpoints/rpn_lvis_866.pth`;
without it, delete the init_cfg of neck and rpn_head, and give the backbone that of
configs/localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866.py. One GPU, four images at a time; rate and
length are choices for some thousand images. COCO-format files; class names do not matter to it.
Results: proposals/R50@100 and so on, recall of all objects of the validation images.
"""

_base_ = [
    '../_base_/models/rpn_r50-caffe-fpn_training.py',
    '../_base_/datasets/custom_detection.py',
    '../_base_/schedules/rpn_90k.py',
    '../_base_/default_runtime.py',
]

start = 'checkpoints/rpn_lvis_866.pth'

model = dict(
    backbone=dict(
        frozen_stages=1,
        init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.backbone'),
    ),
    neck=dict(init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.neck')),
    rpn_head=dict(
        init_cfg=dict(type='PartPretrained', checkpoint=start, prefix='localizer.rpn_head'),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
    ),
)

val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file=_base_.data_root + 'annotations/val.json',
    proposal_nums=(100, 300, 1000),
)
test_evaluator = val_evaluator

max_iters = 6000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        milestones=[4000, 5500],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
auto_scale_lr = dict(base_batch_size=4)
