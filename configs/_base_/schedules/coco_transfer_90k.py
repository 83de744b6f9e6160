# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official schedule of OV-COCO transfer: 90k iterations of 16 images."""

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=90000, val_interval=25000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=1e-4),
)
# LinearLR reaches its end one iteration before `end`: 5001 makes the factor of iteration i
# 0.001 + 0.999 * i / 5000.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=5001),
    dict(
        type='MultiStepLR',
        milestones=[60000, 80000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=90000,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
