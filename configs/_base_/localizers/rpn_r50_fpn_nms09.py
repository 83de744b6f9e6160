# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The R50-FPN localizer of zero-shot tests: NMS at IoU 0.9."""

_base_ = './rpn_r50_fpn.py'

localizer = dict(test_cfg=dict(nms=dict(iou_threshold=0.9)))
