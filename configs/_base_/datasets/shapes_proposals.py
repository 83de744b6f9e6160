# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes for a class-agnostic localizer: base boxes in training, recall of all boxes in tests.

Results: coco/AR@5, coco/AR@10, coco/AR@50 (average recall over IoU 0.5 to 0.95).
"""

_base_ = ['./shapes_detection.py']

val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file={{_base_.data_root}} + 'scenes_val/instances.json',
    metric='proposal_fast',
    proposal_nums=(5, 10, 50),
)
test_evaluator = val_evaluator
