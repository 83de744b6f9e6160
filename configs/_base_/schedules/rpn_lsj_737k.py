# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Schedule of training with large-scale jitter: 400 times COCO, 64 images per iteration.

From random weights, so every norm learns; weights of norms are not decayed. The numbers are those
of detectron2's LSJ baselines, which the official localizer's settings are taken to follow.
"""

_base_ = './coco_transfer_90k.py'

train_cfg = dict(max_iters=737500, val_interval=50000)
optim_wrapper = dict(
    optimizer=dict(lr=0.1, weight_decay=4e-5), paramwise_cfg=dict(norm_decay_mult=0.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.067, by_epoch=False, begin=0, end=501),
    dict(type='CosineAnnealingLR', T_max=737500, eta_min=0.0, by_epoch=False, begin=0, end=737500),
]
auto_scale_lr = dict(base_batch_size=64)
