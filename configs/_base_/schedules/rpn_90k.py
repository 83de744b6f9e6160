# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Schedule of the localizers on COCO: 90k iterations of 16 images (detectron2's 1x)."""

_base_ = './coco_transfer_90k.py'

optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1001),
    dict(
        type='MultiStepLR',
        milestones=[60000, 80000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=90000,
    ),
]
