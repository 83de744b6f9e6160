# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training and validation loops."""

from .dead_workers import DataWorkerError, explain_dead_workers
from .lost_processes import LostProcessError, explain_lost_processes
from .region_naming import RegionNamingLoop
from .resumable_data import ResumableLoader
from .resumable_loops import ResumableEpochTrainLoop, ResumableIterTrainLoop

__all__ = [
    'DataWorkerError',
    'LostProcessError',
    'RegionNamingLoop',
    'ResumableEpochTrainLoop',
    'ResumableIterTrainLoop',
    'ResumableLoader',
    'explain_dead_workers',
    'explain_lost_processes',
]
