# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Hooks: RegionCLIP's own, and those of ``engine.robust``, which know no model."""

from mmdet.registry import HOOKS

from ...renames import old_names, register_old_type
from ..robust.atomic_checkpoint import AtomicCheckpointHook, AtomicLocalBackend
from ..robust.checkpoint_choice import ResumeHook
from ..robust.non_finite import NonFiniteLossHook
from ..robust.once import NoHook, OnceHook
from ..robust.sample_record import SampleRecordHook
from ..robust.save_on_signal import SaveOnSignalHook, StoppedBySignal
from ..robust.throughput import ThroughputHook
from .broken_images import BrokenImagesHook
from .compile_parts import CompilePartsHook
from .dataset_check import DatasetCheckHook
from .pseudo_label_visualization import PseudoLabelVisualizationHook
from .required_files import RequiredFilesHook
from .update_size_checks import AccumulationCheckHook, BatchSizeCheckHook
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
    'PseudoLabelVisualizationHook',
    'RequiredFilesHook',
    'ResumeHook',
    'SampleRecordHook',
    'SaveOnSignalHook',
    'StoppedBySignal',
    'ThroughputHook',
    'VocabularyCheckHook',
]
register_old_type(HOOKS, 'PseudoLabelPicturesHook', PseudoLabelVisualizationHook)
__getattr__ = old_names(
    __name__, dict(PseudoLabelPicturesHook=f'{__name__}.PseudoLabelVisualizationHook')
)
