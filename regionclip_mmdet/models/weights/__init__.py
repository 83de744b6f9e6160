# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Accounting for the origin of weights."""

from .guard import WeightGuard
from .initializers import LocalizerPretrained, RandomWeights
from .report import LoadReport

__all__ = ['LoadReport', 'LocalizerPretrained', 'RandomWeights', 'WeightGuard']
