# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes of the shapes world: trained on 48 base classes, tested on all 64.

Make the data first: python tools/data/make_shapes_world.py data/shapes_world
Results: coco/base_ap50, coco/novel_ap50, coco/bbox_mAP_50 (all classes).
"""

dataset_type = 'ShapesWorldDataset'
data_root = 'data/shapes_world/'
image_scale = (128, 128)

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_scale, keep_ratio=True, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=image_scale, keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
# For tests on ground-truth boxes. Boxes are loaded before Resize, so that they follow it.
gt_proposals_test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_scale, keep_ratio=True, backend='pillow'),
    dict(type='ProposalsFromGT'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        class_split='base',
        data_root=data_root + 'scenes_train/',
        ann_file='instances_base.json',
        data_prefix=dict(img='images/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        class_split='all',
        data_root=data_root + 'scenes_val/',
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='OVCocoMetric',
    ann_file=data_root + 'scenes_val/instances.json',
    metric='bbox',
    format_only=False,
)
test_evaluator = val_evaluator
