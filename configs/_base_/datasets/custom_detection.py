# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A dataset of your own, COCO format, on one GPU: what detector and localizer are trained on.

docs/custom_dataset.md says how to create the files.
"""

_base_ = './coco_detection.py'

# Yours, in the order of the annotation files. Names to be found without boxes are novel.
base_classes = ('mug', 'teapot')
novel_classes = ('spoon',)
data_root = 'data/custom/'

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        class_split='base',
        metainfo=dict(classes=base_classes, base_classes=base_classes, novel_classes=()),
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        get_with=None,
    ),
)
val_dataloader = dict(
    dataset=dict(
        class_split='all',
        metainfo=dict(
            classes=base_classes + novel_classes,
            base_classes=base_classes,
            novel_classes=novel_classes,
        ),
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        get_with=None,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
