# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A tiny class-agnostic RPN on the base boxes of scenes: about 2 minutes on 2 cores.

Stage 3 of tools/quickstart.py. Expected recall of all objects (novel ones were never boxed) at
IoU 0.5 with 10 proposals: above 90 %.
"""

_base_ = './scenes_detection.py'

model = dict(
    type='RPN',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.530, 116.280, 123.675],
        std=[58.0, 57.0, 57.0],
        bgr_to_rgb=False,
        pad_size_divisor=1,
    ),
    backbone={{_base_.localizer_backbone}},
    neck=None,
    rpn_head={{_base_.localizer_head}},
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.6,
                neg_iou_thr=0.4,
                min_pos_iou=0.3,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type='RandomSampler', num=128, pos_fraction=0.5, add_gt_as_proposals=False
            ),
            allowed_border=-1,
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(rpn={{_base_.localizer_test_cfg}}),
)

# Average recall (IoU 0.5 to 0.95) of all objects, novel ones included; the result's names stay
# mmdet's: AR@100 is with 5 proposals, AR@300 with 10, AR@1000 with 50.
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file='data/shapes_world/scenes_val/instances.json',
    metric='proposal',
    proposal_nums=(5, 10, 50),
)
test_evaluator = val_evaluator

max_iters = 500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=100000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=450, begin=50, end=max_iters, by_epoch=False),
]
