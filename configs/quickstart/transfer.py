# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Transfer: fine-tuning on base boxes, tested on base and novel classes: about 3 minutes.

Stage 6 of tools/quickstart.py, once from CLIP's and once from RegionCLIP's weights.
"""

_base_ = './detector.py'

model = dict(
    train_cfg=dict(
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False,
        )
    ),
)

max_iters = 300
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=100000)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=30, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=270, begin=30, end=max_iters, by_epoch=False),
]
