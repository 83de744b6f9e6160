# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on COCO captions (118287 images with five captions each).

Images as the official pretraining sees them: Pillow, bicubic, short side 800 of at most 1333, sizes
truncated, pixels as they are stored, whatever the EXIF orientation says. One caption is drawn every
time an image is loaded.
"""

data_root = 'data/coco/'

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
resize = dict(
    type='ResizeShortestEdgeTruncated',
    scale=800,
    max_size=1333,
    interpolation='bicubic',
    backend='pillow',
)
train_pipeline = [
    dict(type='LoadImageChecked', ignore_orientation=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PickCaption', first=5),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
# With boxes drawn at random instead of a localizer's
random_regions_pipeline = [
    dict(type='LoadImageChecked', ignore_orientation=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomProposals', num_proposals=100),
    dict(type='PickCaption', first=5),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]

# 32 GPUs x 3 images
train_dataloader = dict(
    batch_size=3,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ImageTextDataset',
        data_root=data_root,
        ann_file='annotations/captions_train2017.json',
        data_prefix=dict(img_path='train2017/'),
        get_with=(
            'wget http://images.cocodataset.org/annotations/annotations_trainval2017.zip '
            '-P data/coco && unzip data/coco/annotations_trainval2017.zip -d data/coco'
        ),
        pipeline=train_pipeline,
    ),
)
