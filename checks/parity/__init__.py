# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Comparison of this implementation with numbers recorded from the official code."""

from .case import Case, CaseError, find_cases, open_case
from .comparison import Comparison, Difference
from .verify import Outcome, kind_of, select, verify

__all__ = [
    'Case',
    'CaseError',
    'Comparison',
    'Difference',
    'Outcome',
    'find_cases',
    'kind_of',
    'open_case',
    'select',
    'verify',
]
