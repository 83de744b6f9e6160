# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: trained on 48 base classes, evaluated on 65 at once (the generalized setting).

Evaluation has the 4836 images with at least one of the 65 classes, as published numbers do.
Make the files first: python tools/data/prepare_ov_coco.py data/coco
Results: coco/bbox_novel_ap50, coco/bbox_base_ap50, coco/bbox_all_ap50.
"""

_base_ = ['./coco_detection.py']

prepare = 'python tools/data/prepare_ov_coco.py data/coco'

train_dataloader = dict(
    dataset=dict(
        class_split='base', ann_file='annotations/ov_coco_train_base.json', get_with=prepare
    )
)
val_dataloader = dict(
    dataset=dict(class_split='all', ann_file='annotations/ov_coco_val_all.json', get_with=prepare)
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=_base_.data_root + 'annotations/ov_coco_val_all.json')
test_evaluator = val_evaluator
