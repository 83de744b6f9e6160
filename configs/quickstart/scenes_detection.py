# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes at the size the quickstart's detectors see: base boxes for training, all for tests."""

_base_ = ['./tiny_base.py', '../_base_/datasets/shapes_detection.py']

load_image = dict(type='LoadImageFromFile', imdecode_backend='pillow')
load_boxes = dict(type='LoadAnnotations', with_bbox=True)
resize = dict(type='Resize', scale={{_base_.scene_scale}}, keep_ratio=True, backend='pillow')
test_meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test_pipeline = [
    load_image,
    resize,
    load_boxes,
    dict(type='PackDetInputs', meta_keys=test_meta_keys),
]
# Boxes before Resize, so that they follow it; then they serve as proposals.
gt_proposals_test_pipeline = [
    load_image,
    load_boxes,
    resize,
    dict(type='ProposalsFromGT'),
    dict(type='PackDetInputs', meta_keys=test_meta_keys),
]
train_pipeline = [
    dict(type='LoadImageChecked'),
    load_boxes,
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
