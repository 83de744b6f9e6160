# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where the time goes: inference and pretraining step, by stage, with and without each speed-up."""

from .measure import Measurement, measure
from .report import Result, format_report
from .switches import SWITCHES, ladder, switched_off
from .timing import part_times
from .workloads import WORKLOADS, InferenceWorkload, PretrainingWorkload, Settings

__all__ = [
    'SWITCHES',
    'WORKLOADS',
    'InferenceWorkload',
    'Measurement',
    'PretrainingWorkload',
    'Result',
    'Settings',
    'format_report',
    'ladder',
    'measure',
    'part_times',
    'switched_off',
]
