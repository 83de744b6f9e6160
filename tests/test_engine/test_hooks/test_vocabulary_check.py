# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Vocabulary and dataset must agree, name by name, before anything is trained or evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from helpers import tiny_models, tiny_runner
from regionclip_mmdet.engine.hooks.vocabulary_check import find_classifier

NAMES = tiny_models.NAMES
SWAPPED = ('cat', 'red ball', 'dog')


def make_runner(
    folder: Path,
    train: Sequence[str] | None = NAMES,
    test: Sequence[str] | None = NAMES,
    **bbox_head: object,
) -> Runner:
    config = tiny_models.detector_config(
        bbox_head=bbox_head, data_preprocessor=tiny_runner.PREPROCESSOR
    )
    hooks = [dict(type='VocabularyCheckHook')]
    return tiny_runner.make_runner(MODELS.build(config), folder, train, test, custom_hooks=hooks)


def test_agreement_passes_through_all_loops(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    runner.train()
    for metrics in (runner.val(), runner.test()):
        assert metrics['found/count'] > 0


def test_a_swapped_order_is_refused(tmp_path: Path) -> None:
    message = (
        r'text embeddings \(3 names\) and the {} dataset \(3 names\) differ at position 1: '
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
    assert runner.test()['found/count'] > 0
    runner = make_runner(
        tmp_path / 'other', test=NAMES, test_vocabulary=tiny_models.vocabulary(test_names)
    )
    with pytest.raises(ValueError, match="position 0: 'bird' .*names themselves differ"):
        runner.test()


def test_names_set_at_run_time_are_checked(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, test=SWAPPED, with_reg=False)
    runner.model.eval()
    runner.model.set_vocabulary(tiny_models.vocabulary(SWAPPED))
    assert runner.test()['found/count'] > 0


def test_no_vocabulary_is_refused(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, vocabulary=None)
    with pytest.raises(RuntimeError, match='no vocabulary for evaluation: set vocabulary or test_'):
        runner.test()
    with pytest.raises(RuntimeError, match='no vocabulary for training'):
        runner.train()


def test_datasets_without_names_are_not_checked(tmp_path: Path) -> None:
    assert make_runner(tmp_path, test=None, with_reg=False).test()['found/count'] > 0


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
