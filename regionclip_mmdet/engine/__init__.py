# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training-time helpers."""

from .hooks import AtomicCheckpointHook, DatasetCheckHook, VocabularyCheckHook
from .loops import ResumableEpochTrainLoop, ResumableIterTrainLoop
from .optimizers import PerTensorClipAmpOptimWrapper, PerTensorClipOptimWrapper

__all__ = [
    'AtomicCheckpointHook',
    'DatasetCheckHook',
    'PerTensorClipAmpOptimWrapper',
    'PerTensorClipOptimWrapper',
    'ResumableEpochTrainLoop',
    'ResumableIterTrainLoop',
    'VocabularyCheckHook',
]
