# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Scenes for a class-agnostic localizer: base boxes in training, recall of all boxes in tests.

Results: proposals/AR@n, /R50@n, /base_R50@n, /novel_R50@n and so on for n = 5, 10, 50.
"""

_base_ = ['./shapes_detection.py']

val_evaluator = dict(
    _delete_=True,
    type='ProposalRecallMetric',
    ann_file=_base_.data_root + 'scenes_val/instances.json',
    proposal_nums=(5, 10, 50),
)
test_evaluator = val_evaluator
