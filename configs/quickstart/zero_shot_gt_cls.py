# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot classification of annotated boxes as tools/test.py reports it: top-1, top-5, AP."""

_base_ = './zero_shot_gt.py'

test_evaluator = dict(_delete_=True, type='RegionClassificationMetric')
