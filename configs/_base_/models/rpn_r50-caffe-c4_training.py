# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The C4 localizer as an RPN of mmdet, to be trained."""

_base_ = '../localizers/rpn_r50_c4.py'

model = dict(
    type='RPN',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.530, 116.280, 123.675],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False,
        pad_size_divisor=1,
    ),
    backbone={{_base_.localizer.backbone}},
    neck=None,
    rpn_head={{_base_.localizer.rpn_head}},
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type='RandomSampler',
                num=256,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(rpn={{_base_.localizer.test_cfg}}),
)
