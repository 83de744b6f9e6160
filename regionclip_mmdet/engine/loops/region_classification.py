# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Validation of pretraining: how well does the student classify annotated boxes by now?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, LOOPS
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader

from ...models.detectors import RegionCLIP
from ...models.text import TextEmbeddingClassifier, TextEmbeddings
from ..robust.randomness import untouched_generators
from ..robust.ranks import unwrapped_model


@LOOPS.register_module()
class RegionClassificationLoop(ValLoop):
    """mmengine's ``ValLoop`` for a ``RegionCLIP`` in pretraining, whose student classifies boxes.

    Zero-shot: boxes are the samples' ``proposals`` (``ProposalsFromGT`` makes them of annotated
    ones), class names come from a vocabulary, ``RegionClassificationMetric`` evaluates. The results
    are those of a detector with the student's weights (``configs/zero_shot/*_gt_cls_*``).

    Training does not notice it: the global random generators are restored. All processes share
    the images, and each gets the same result.

    Args:
        runner: The runner.
        dataloader: Annotated images; config or loader.
        evaluator: As in mmengine.
        vocabulary: Embeddings of the class names in the student's text space, or their file.
            ``VocabularyCheckHook`` reports a missing file, and compares the class names with the
            dataset's categories, before the first iteration.
        temperature: Divisor of the cosines.
        max_images: Largest number of images, evenly spread over the dataset.
        fp16: As in mmengine.

    Raises:
        TypeError: The model is no ``RegionCLIP``.
        ValueError: The vocabulary's embeddings have another dimension than the student's; or
            ``max_images`` with a loader that is built already.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        vocabulary: str | os.PathLike | TextEmbeddings,
        temperature: float = 0.01,
        max_images: int | None = None,
        fp16: bool = False,
    ) -> None:
        if max_images is not None:
            dataloader = _limited(dataloader, max_images)
        super().__init__(runner, dataloader, evaluator, fp16)
        self.model = unwrapped_model(runner)
        if not isinstance(self.model, RegionCLIP):
            raise TypeError(
                'RegionClassificationLoop needs a RegionCLIP, whose student classifies boxes, but '
                f"the model is a {type(self.model).__name__}: use val_cfg=dict(type='ValLoop')."
            )
        self.classifier = TextEmbeddingClassifier(
            self.model.roi_head.region_encoder.embed_dim, vocabulary, temperature
        )

    def run(self) -> dict:
        with untouched_generators():
            self.classifier.to(next(self.model.parameters()).device)
            return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Classify the boxes of a batch."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            data = self.model.data_preprocessor(data_batch, False)
            outputs = self.model.classify_regions(
                data['inputs'], data['data_samples'], self.classifier
            )
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


def _limited(dataloader: DataLoader | dict, max_images: int) -> dict:
    """The loader's config with a dataset of at most ``max_images``."""
    if isinstance(dataloader, DataLoader) or max_images < 1:
        raise ValueError(
            f'RegionClassificationLoop: max_images={max_images} must be positive, and limits the '
            'dataset of a loader that is given as a config.'
        )
    dataset = dataloader['dataset']
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build(dataset)
    dataset.full_init()
    if len(dataset) > max_images:
        print_log(
            f'RegionClassificationLoop: only {max_images} of {len(dataset)} images are evaluated '
            '(max_images).',
            logger='current',
        )
        rows = np.linspace(0, len(dataset) - 1, max_images).round().astype(int)
        dataset = dataset.get_subset(rows.tolist())
    return {**dataloader, 'dataset': dataset}
