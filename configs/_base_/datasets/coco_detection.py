# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO's 80 classes, images read and resized as in the official transfer and zero-shot runs.

mmdet's own base resizes with OpenCV, to one size. Here: Pillow, bilinear, short side 800 of at
most 1333 in tests, drawn from six sizes in training; images of a batch are both upright or both
wide. Results: coco/bbox_mAP, coco/bbox_mAP_50 and so on (docs/data.md).
"""

data_root = 'data/coco/'
get_annotations = (
    'wget http://images.cocodataset.org/annotations/annotations_trainval2017.zip -P data/coco '
    '&& unzip data/coco/annotations_trainval2017.zip -d data/coco'
)
test_meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
load_image = dict(type='LoadImageFromFile', imdecode_backend='pillow')
# mmdet's Resize(keep_ratio=True) rounds exact halves otherwise, e.g. of 640 x 320 pixels
test_resize = dict(type='ResizeShortestEdge', scale=800, max_size=1333, backend='pillow')

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomChoiceResize',
        scales=[640, 672, 704, 736, 768, 800],
        resize_type='ResizeShortestEdge',
        max_size=1333,
        backend='pillow',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    load_image,
    test_resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=test_meta_keys),
]
# For tests on ground-truth boxes. Boxes are loaded before resizing, so that they follow it.
gt_proposals_test_pipeline = [
    load_image,
    dict(type='LoadAnnotations', with_bbox=True),
    test_resize,
    dict(type='ProposalsFromGT', max_num=500),
    dict(type='PackDetInputs', meta_keys=test_meta_keys),
]

# 8 GPUs x 2 images
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='OVCocoDataset',
        class_split='coco80',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        get_with=get_annotations,
        pipeline=train_pipeline,
    ),
)
# One image at a time: padding to a common size would change what lies at the border.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OVCocoDataset',
        class_split='coco80',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        get_with=get_annotations,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='OVCocoAPMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    format_only=False,
)
test_evaluator = val_evaluator
