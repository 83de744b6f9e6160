# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A tiny CLIP from captions only, on object-centric images: about 6 minutes on 2 cores.

Stage 2 of tools/quickstart.py; docs/quickstart.md says how to run a config alone.
"""

_base_ = ['./tiny_base.py', '../_base_/datasets/shapes_image_text.py']

model = dict(
    type='ImageTextCLIP',
    arch={{_base_.arch}},
    text={{_base_.text_arch}},
    data_preprocessor={{_base_.clip_preprocessor}},
)

train_dataloader = dict(batch_size=64)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageTextDataset',
        data_root='data/shapes_world/object_centric_val/',
        ann_file='names.json',
        data_prefix=dict(img_path='images/'),
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ZeroShotTop1')
test_evaluator = val_evaluator

max_iters = 1100
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=100000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=150, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=950, begin=150, end=max_iters, by_epoch=False),
]
