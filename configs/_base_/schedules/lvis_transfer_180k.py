# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official schedule of OV-LVIS transfer: 180k iterations of 16 images."""

_base_ = './coco_transfer_90k.py'

train_cfg = dict(max_iters=180000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=5001),
    dict(
        type='MultiStepLR',
        milestones=[120000, 160000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=180000,
    ),
]
