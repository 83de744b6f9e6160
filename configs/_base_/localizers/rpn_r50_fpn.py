# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer of the LVIS models and of zero-shot tests: R50-FPN RPN, p2 to p6, 3 anchors each.

Its weights: model.localizer.init_cfg=dict(type='LocalizerPretrained', checkpoint=...). Zero-shot
tests use model.localizer.test_cfg.nms.iou_threshold=0.9; pretraining 0.5, max_per_img=300.
"""

localizer = dict(
    type='RPNLocalizer',
    backbone=dict(
        type='FoldedResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',
    ),
    # the fifth map is every second row and column of the fourth
    neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[8],
            ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64],
        ),
        bbox_coder=dict(
            # boxes may shrink without limit, as in the official code
            type='UpperClampBBoxCoder',
            target_means=(0.0, 0.0, 0.0, 0.0),
            target_stds=(1.0, 1.0, 1.0, 1.0),
        ),
    ),
    # nms_pre and nms are per level
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=1000,
        min_bbox_size=0,
    ),
    pad_size_divisor=32,
)
