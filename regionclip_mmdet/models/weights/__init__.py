# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Accounting for the origin of weights."""

from .generated import fill_weights, generated_model
from .guard import WeightGuard
from .initializers import LocalizerPretrained, PartPretrained, RandomWeights
from .report import LoadReport

__all__ = [
    'LoadReport',
    'LocalizerPretrained',
    'PartPretrained',
    'RandomWeights',
    'WeightGuard',
    'fill_weights',
    'generated_model',
]
