# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on COCO captions: as often over the images as pretrain_600k.py over CC3M's, 19 times.

The length that the paper used for COCO captions was not found: this one is a choice.
"""

_base_ = './pretrain_600k.py'

train_cfg = dict(max_iters=23400, val_interval=23401)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1001),
    dict(
        type='MultiStepLR',
        milestones=[11700, 20475],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=23400,
    ),
]
