# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO, evaluated on all 5000 images: 164 of them have none of the 65 classes.

Detections there are false positives, so numbers are a little lower than those of
ov_coco_detection.py; some publications use this protocol.
"""

_base_ = ['./ov_coco_detection.py']

val_dataloader = dict(dataset=dict(ann_file='annotations/ov_coco_val_all_images.json'))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.data_root + 'annotations/ov_coco_val_all_images.json')
test_evaluator = val_evaluator
