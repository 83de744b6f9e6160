# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Vocabulary and dataset must agree, name by name, before anything is trained or evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from regionclip_mmdet.engine.hooks.vocabulary_check import find_classifier

NAMES = tiny_models.NAMES
SWAPPED = ('cat', 'red ball', 'dog')
BOXES = torch.tensor([[4.0, 4.0, 40.0, 36.0], [10.0, 20.0, 60.0, 60.0]])


class Images(Dataset):
    """Two noise images whose categories have the given names."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self.metainfo = dict(classes=names) if names else {}

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        (sample,) = tiny_models.samples((64, 64), proposals=[BOXES])
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 64, 64), generator=generator)
        return dict(inputs=image.to(torch.uint8), data_samples=sample)


class CountDetections(BaseMetric):
    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.results.extend(len(sample['pred_instances']['scores']) for sample in data_samples)

    def compute_metrics(self, results: list[int]) -> dict:
        return dict(detections=sum(results))


def make_runner(
    folder: Path,
    train: tuple[str, ...] | None = NAMES,
    test: tuple[str, ...] | None = NAMES,
    model: nn.Module | None = None,
    **bbox_head: object,
) -> Runner:
    if model is None:
        config = tiny_models.detector_config(
            bbox_head=bbox_head, data_preprocessor=dict(type='mmdet.DetDataPreprocessor')
        )
        model = MODELS.build(config)

    def loader(names: tuple[str, ...] | None) -> dict:
        return dict(
            batch_size=2,
            dataset=Images(names),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )

    return Runner(
        model,
        work_dir=str(folder),
        train_dataloader=loader(train),
        train_cfg=dict(by_epoch=False, max_iters=1, val_interval=10),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4)),
        val_dataloader=loader(test),
        val_cfg=dict(),
        val_evaluator=Evaluator(CountDetections()),
        test_dataloader=loader(test),
        test_cfg=dict(),
        test_evaluator=Evaluator(CountDetections()),
        custom_hooks=[HOOKS.build(dict(type='VocabularyCheckHook'))],
        default_scope='mmdet',
        experiment_name=folder.name,
    )


def test_agreement_passes_through_all_loops(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    runner.train()
    for metrics in (runner.val(), runner.test()):
        assert metrics['detections'] > 0


def test_a_swapped_order_is_refused(tmp_path: Path) -> None:
    message = (
        r"text embeddings \(3 names\) and the {} dataset \(3 names\) differ at position 1: "
        "'dog' in the text embeddings, 'red ball' in the {} dataset; .* the same in another order"
    )
    runner = make_runner(tmp_path, train=SWAPPED, test=SWAPPED)
    with pytest.raises(ValueError, match=message.format('training', 'training')):
        runner.train()
    for run in (runner.val, runner.test):
        with pytest.raises(ValueError, match=message.format('evaluation', 'evaluation')):
            run()


def test_training_and_testing_names_are_checked_apart(tmp_path: Path) -> None:
    test_names = ('bird', *NAMES)
    runner = make_runner(
        tmp_path, test=test_names, test_vocabulary=tiny_models.vocabulary(test_names)
    )
    runner.train()
    assert runner.test()['detections'] > 0
    runner = make_runner(
        tmp_path / 'other', test=NAMES, test_vocabulary=tiny_models.vocabulary(test_names)
    )
    with pytest.raises(ValueError, match="position 0: 'bird' .*names themselves differ"):
        runner.test()


def test_names_set_at_run_time_are_checked(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, test=SWAPPED, with_reg=False)
    runner.model.eval()
    runner.model.set_vocabulary(tiny_models.vocabulary(SWAPPED))
    assert runner.test()['detections'] > 0


def test_no_vocabulary_is_refused(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, vocabulary=None)
    with pytest.raises(RuntimeError, match='no vocabulary for evaluation: set vocabulary or test_'):
        runner.test()
    with pytest.raises(RuntimeError, match='no vocabulary for training'):
        runner.train()


def test_datasets_without_names_are_not_checked(tmp_path: Path) -> None:
    assert make_runner(tmp_path, test=None, with_reg=False).test()['detections'] > 0


def test_finding_the_classifier() -> None:
    model = MODELS.build(
        tiny_models.detector_config(bbox_head=dict(test_vocabulary=tiny_models.vocabulary(('x',))))
    )
    head = model.roi_head.bbox_head
    assert find_classifier(model, training=True) is head.classifier
    assert find_classifier(model, training=False) is head.test_classifier
    assert find_classifier(nn.Linear(1, 1), training=True) is None
    augmented = MODELS.build(dict(type='DetTTAModel', module=model))
    assert find_classifier(augmented, training=False) is head.test_classifier
    pretrainer = MODELS.build(tiny_models.regionclip_config())
    assert find_classifier(pretrainer, training=True) is None
