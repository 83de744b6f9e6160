# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official schedule of region-text pretraining: 600k iterations of 96 images.

Each parameter tensor's gradient is clipped by its own norm.
"""

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=600000, val_interval=600001)

optim_wrapper = dict(
    type='PerTensorClipOptimWrapper',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(type='per_tensor_norm', max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1001),
    dict(
        type='MultiStepLR',
        milestones=[300000, 525000],
        gamma=0.1,
        by_epoch=False,
        begin=0,
        end=600000,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=96)
