# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The R50-FPN localizer of pretraining: NMS at IoU 0.5, the best 300 proposals."""

_base_ = './rpn_r50_fpn.py'

localizer = dict(
    test_cfg=dict(nms=dict(iou_threshold=0.5), max_per_img=300),
    init_cfg=dict(type='LocalizerPretrained', checkpoint='checkpoints/rpn_lvis_866.pth'),
)
