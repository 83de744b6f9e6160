# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training and validation loops."""

from mmdet.registry import LOOPS

from ...renames import old_names, register_old_type
from ..robust.failures import (
    DataWorkerError,
    LostProcessError,
    explain_dead_workers,
    explain_lost_processes,
)
from ..robust.resumable_data import ResumableLoader
from ..robust.resumable_loops import ResumableEpochTrainLoop, ResumableIterTrainLoop
from .region_classification import RegionClassificationLoop

__all__ = [
    'DataWorkerError',
    'LostProcessError',
    'RegionClassificationLoop',
    'ResumableEpochTrainLoop',
    'ResumableIterTrainLoop',
    'ResumableLoader',
    'explain_dead_workers',
    'explain_lost_processes',
]
register_old_type(LOOPS, 'RegionNamingLoop', RegionClassificationLoop)
__getattr__ = old_names(__name__, dict(RegionNamingLoop=f'{__name__}.RegionClassificationLoop'))
