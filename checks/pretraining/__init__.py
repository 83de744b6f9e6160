# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Does pretraining work on this machine, with several processes, broken data and a crash?"""

from .history import History, Start, read_record, read_starts, surviving_history
from .passes import PassReport, check_passes

__all__ = [
    'History',
    'PassReport',
    'Start',
    'check_passes',
    'read_record',
    'read_starts',
    'surviving_history',
]
