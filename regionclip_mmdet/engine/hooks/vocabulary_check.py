# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The model's class names must be the dataset's categories, in the same order."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from ...datasets.checks import class_names
from ...models.roi_heads import TextEmbeddingBBoxHead
from ...models.text import TextEmbeddingClassifier
from ..robust.once import OnceHook


@HOOKS.register_module()
class VocabularyCheckHook(OnceHook):
    """Compares vocabulary and dataset categories by name before training and evaluation.

    Labels are indices: with another order a detector trains and evaluates without complaint, on
    wrong classes. Part of the default runtime config; does nothing for models without a vocabulary.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        self._check(runner, runner.train_dataloader.dataset, training=True)
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset, False, runner.val_loop)

    def before_val(self, runner: Runner) -> None:
        self._check(runner, runner.val_dataloader.dataset, False, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        self._check(runner, runner.test_dataloader.dataset, training=False)

    def _check(
        self, runner: Runner, dataset: BaseDataset, training: bool, loop: BaseLoop | None = None
    ) -> None:
        # a RegionClassificationLoop has a vocabulary of its own
        classifier = getattr(loop, 'classifier', None) or find_classifier(runner.model, training)
        what = 'training' if training else 'evaluation'
        # of datasets put together that differ mmdet has a list
        metas = dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]
        lists = [class_names(meta, f'The {what} dataset') for meta in metas if 'classes' in meta]
        if classifier is None or not lists:
            return
        if classifier.missing_file is not None:
            classifier.require_vocabulary()
        if classifier.vocabulary is None:
            raise RuntimeError(
                f'The box head has no vocabulary for {what}: set vocabulary or test_vocabulary of '
                'roi_head.bbox_head, or load a checkpoint that holds one.'
            )
        for classes in lists:
            classifier.vocabulary.check_names(classes, f'the {what} dataset')


def find_classifier(model: nn.Module, training: bool) -> TextEmbeddingClassifier | None:
    """The text classifier a detector uses in a mode; None if it has none."""
    inner: Any = model
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    head = getattr(getattr(inner, 'roi_head', None), 'bbox_head', None)
    return head.classifier_for(training) if isinstance(head, TextEmbeddingBBoxHead) else None
