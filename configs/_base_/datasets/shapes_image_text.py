# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captioned images of the shapes world: CLIP training, RegionCLIP pretraining.

Make the data first: python tools/data/make_shapes_world.py data/shapes_world
RegionCLIP pretraining on captioned scenes:
    train_dataloader = dict(dataset=dict(data_root='data/shapes_world/scenes_train/'))
"""

data_root = 'data/shapes_world/'

# PackDetInputs hands the caption over as data_sample.text
meta_keys = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'text',
)
# Images stay at their own size (96 or 128 pixels), so there is nothing to resize. Arrays are
# BGR; the data preprocessor turns them to RGB.
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PickCaption'),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ImageTextDataset',
        data_root=data_root + 'object_centric_train/',
        ann_file='captions.json',
        data_prefix=dict(img_path='images/'),
        pipeline=train_pipeline,
    ),
)
