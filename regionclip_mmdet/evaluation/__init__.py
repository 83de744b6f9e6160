# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Metrics that tell base from novel classes: detection, region classification, proposals."""

from .dump_predictions import DumpPredictions
from .ov_coco_metric import OVCocoAPMetric
from .ov_lvis_metric import OVLVISMetric
from .proposal_recall import ProposalRecallMetric
from .region_classification import RegionClassificationMetric
from .zero_shot_top1 import ZeroShotTop1

__all__ = [
    'DumpPredictions',
    'OVCocoAPMetric',
    'OVLVISMetric',
    'ProposalRecallMetric',
    'RegionClassificationMetric',
    'ZeroShotTop1',
]
