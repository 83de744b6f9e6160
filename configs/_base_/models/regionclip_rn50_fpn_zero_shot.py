# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The same for proposals of the R50-FPN localizer; scores are sqrt(probability * logit)."""

_base_ = ['./regionclip_rn50_zero_shot.py', '../localizers/rpn_r50_fpn_nms09.py']

model = dict(
    localizer={{_base_.localizer}},
    test_cfg=dict(rcnn=dict(objectness='logit')),
)
