# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Hooks."""

from .accumulation_check import AccumulationCheckHook
from .atomic_checkpoint import AtomicCheckpointHook, AtomicLocalBackend
from .batch_size_check import BatchSizeCheckHook
from .broken_images import BrokenImagesHook
from .compile_parts import CompilePartsHook
from .dataset_check import DatasetCheckHook
from .non_finite import NonFiniteLossHook
from .once import NoHook, OnceHook
from .pseudo_label_pictures import PseudoLabelPicturesHook
from .required_files import RequiredFilesHook
from .resume import ResumeHook
from .sample_record import SampleRecordHook
from .save_on_signal import SaveOnSignalHook, StoppedBySignal
from .throughput import ThroughputHook
from .vocabulary_check import VocabularyCheckHook

__all__ = [
    'AccumulationCheckHook',
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BatchSizeCheckHook',
    'BrokenImagesHook',
    'CompilePartsHook',
    'DatasetCheckHook',
    'NoHook',
    'NonFiniteLossHook',
    'OnceHook',
    'PseudoLabelPicturesHook',
    'RequiredFilesHook',
    'ResumeHook',
    'SampleRecordHook',
    'SaveOnSignalHook',
    'StoppedBySignal',
    'ThroughputHook',
    'VocabularyCheckHook',
]
