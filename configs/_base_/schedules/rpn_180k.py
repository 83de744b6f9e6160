# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Schedule of the localizer on LVIS: 180k iterations of 16 images, validated every 50000."""

_base_ = './rpn_90k.py'

train_cfg = dict(max_iters=180000, val_interval=50000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1001),
    dict(
        type='MultiStepLR',
        milestones=[120000, 160000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=180000,
    ),
]
