# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer of the COCO models: R50-C4 RPN, one level of stride 16, 15 anchors per location.

Its weights: model.localizer.init_cfg=dict(type='LocalizerPretrained', checkpoint=...). Zero-shot
tests use model.localizer.test_cfg.nms.iou_threshold=0.9.
"""

localizer = dict(
    type='RPNLocalizer',
    backbone=dict(
        type='FoldedResNet',
        depth=50,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',
    ),
    rpn_head=dict(
        type='RPNHead',
        in_channels=1024,
        feat_channels=1024,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[2, 4, 8, 16, 32],
            ratios=[0.5, 1.0, 2.0],
            strides=[16],
            # sizes outer, ratios inner: the official order of the anchor channels
            scale_major=False,
        ),
        bbox_coder=dict(
            # boxes may shrink without limit, as in the official code
            type='UpperClampBBoxCoder',
            target_means=(0.0, 0.0, 0.0, 0.0),
            target_stds=(1.0, 1.0, 1.0, 1.0),
        ),
    ),
    test_cfg=dict(
        nms_pre=6000,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=1000,
        min_bbox_size=0,
    ),
)
