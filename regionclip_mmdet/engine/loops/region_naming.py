# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Validation of pretraining: how well does the student name annotated boxes by now?"""

from __future__ import annotations

import os
from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader

from ...models.detectors import RegionCLIP
from ...models.text import TextEmbeddingClassifier, TextEmbeddings
from ..randomness import untouched_generators


@LOOPS.register_module()
class RegionNamingLoop(ValLoop):
    """mmengine's ``ValLoop`` for a ``RegionCLIP`` in pretraining, whose student names boxes.

    Zero-shot: boxes are the samples' ``proposals`` (``ProposalsFromGT`` makes them of annotated
    ones), names come from a vocabulary, and ``RegionClassificationMetric`` counts. The figures are
    those of a detector with the student's weights (``configs/zero_shot/*_gt_naming_*``). A smaller
    set is had by the dataset's own ``indices=N``, its first ``N`` images.

    Training does not notice it: the global random generators are put back. All processes share
    the images, and each gets the same result.

    Args:
        runner: The runner.
        dataloader: Annotated images; config or loader.
        evaluator: As in mmengine.
        vocabulary: The categories' embeddings, or a file of them; those of the student's text
            space. ``VocabularyCheckHook`` misses the file, or compares the names with the
            dataset's categories, before the first iteration.
        temperature: Divides the cosines.
        fp16: As in mmengine.

    Raises:
        TypeError: The model is no ``RegionCLIP``.
        ValueError: The vocabulary has another width than the student's embeddings.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        vocabulary: str | os.PathLike | TextEmbeddings,
        temperature: float = 0.01,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(self.model, RegionCLIP):
            raise TypeError(
                f'RegionNamingLoop lets the student of a RegionCLIP name boxes, but the model is a '
                f"{type(self.model).__name__}: use val_cfg=dict(type='ValLoop')."
            )
        self.classifier = TextEmbeddingClassifier(
            self.model.roi_head.region_encoder.embed_dim, vocabulary, temperature
        )

    def run(self) -> dict:
        """Launch validation."""
        with untouched_generators():
            self.classifier.to(next(self.model.parameters()).device)
            return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Name the boxes of a batch."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            data = self.model.data_preprocessor(data_batch, False)
            outputs = self.model.name_regions(data['inputs'], data['data_samples'], self.classifier)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
