# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO, evaluated on the 48 base classes alone. Training as ov_coco_detection."""

_base_ = ['./ov_coco_detection.py']

val_dataloader = dict(
    dataset=dict(class_split='base', ann_file='annotations/ov_coco_val_base.json')
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.data_root + 'annotations/ov_coco_val_base.json')
test_evaluator = val_evaluator
