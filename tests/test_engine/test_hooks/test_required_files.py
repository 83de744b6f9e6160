# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Models are built without files; runs without them end before their first iteration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from helpers import tiny_models, tiny_runner
from regionclip_mmdet.models.text import TextEmbeddings

HOOKS = [dict(type='RequiredFilesHook'), dict(type='VocabularyCheckHook')]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work here, so that paths in configs are relative, as theirs are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def detector(**bbox_head: object) -> torch.nn.Module:
    return MODELS.build(tiny_models.detector_config(bbox_head=bbox_head))


def runner(model: torch.nn.Module, place: Path, **settings: object):
    return tiny_runner.make_runner(
        model, place / 'run', custom_hooks=HOOKS, **{'max_iters': 1, **settings}
    )


def test_a_missing_vocabulary_is_missed_when_training_begins(place: Path) -> None:
    model = detector(vocabulary='v/ov_coco_48_rn50.pth')
    with pytest.raises(FileNotFoundError, match=r'embed_names.py ov_coco_48 --arch RN50'):
        runner(model, place).train()
    assert not list((place / 'run').glob('*.pth'))


def test_the_one_of_the_validation_is_missed_then_too(place: Path) -> None:
    model = detector(test_vocabulary='v/ov_coco_65_rn50.pth')
    with pytest.raises(FileNotFoundError, match=r'embed_names.py ov_coco_65 --arch RN50'):
        runner(model, place).train()


def test_a_missing_vocabulary_is_missed_when_testing_begins(place: Path) -> None:
    model = detector(test_vocabulary='v/ov_coco_65_rn50.pth', with_reg=False)
    with pytest.raises(FileNotFoundError, match='v/ov_coco_65_rn50.pth does not exist'):
        runner(model, place).test()


def test_without_hooks_it_is_missed_when_it_is_used(place: Path) -> None:
    model = detector(vocabulary='v/ov_coco_48_rn50.pth')
    with pytest.raises(FileNotFoundError, match='v/ov_coco_48_rn50.pth'):
        model.roi_head.bbox_head(torch.randn(2, 32))
    # made meanwhile
    tiny_models.vocabulary().save('v/ov_coco_48_rn50.pth')
    logits, _ = model.roi_head.bbox_head(torch.randn(2, 32))
    assert logits.shape == (2, 4)


def test_the_names_in_a_checkpoint_do_without_the_file(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = detector(vocabulary=tiny_models.vocabulary())
    model = detector(vocabulary='v/absent.pth', test_vocabulary='v/also_absent.pth')
    model.load_state_dict(source.state_dict(), strict=False)
    head = model.eval().roi_head.bbox_head
    assert head.classifier.names == tiny_models.NAMES
    # but the names to be tested are still missed: training names are others
    with pytest.raises(FileNotFoundError, match='v/also_absent.pth'):
        head(torch.randn(2, 32))


def test_an_existing_file_is_read_when_built(place: Path) -> None:
    tiny_models.vocabulary(('a', 'b')).save('v.pth')
    head = detector(vocabulary='v.pth', test_vocabulary=None).roi_head.bbox_head
    assert head.classifier.names == ('a', 'b')
    assert isinstance(head.classifier.vocabulary, TextEmbeddings)


@pytest.mark.parametrize('missing', ['concept_pool', 'teacher_concept_pool'])
def test_missing_concepts(place: Path, missing: str) -> None:
    name = 'v/coco_nouns_4764_rn50.pth'
    model = MODELS.build(tiny_models.regionclip_config(region_text_head={missing: name}))
    with pytest.raises(FileNotFoundError, match=r'embed_names.py v/coco_nouns_4764.txt --arch'):
        runner(model, place).train()
    assert not list((place / 'run').glob('*.pth'))
    with pytest.raises(FileNotFoundError, match='concept pool v/coco_nouns_4764_rn50.pth'):
        model.roi_head.region_text_head.pseudo_label(torch.randn(2, 32))


def test_missing_checkpoint_and_localizer(place: Path) -> None:
    name = 'c/regionclip_rn50_with_rpn_coco_48.pth'
    for mode in ('train', 'test'):
        with pytest.raises(FileNotFoundError, match=r'convert_checkpoint.py downloads/regionclip_'):
            getattr(runner(detector(), place, load_from=name), mode)()
    localizer = tiny_models.localizer('c/rpn_coco_48.pth')
    for mode in ('train', 'test'):
        head = dict(with_reg=False)
        model = MODELS.build(tiny_models.detector_config(localizer=localizer, bbox_head=head))
        with pytest.raises(FileNotFoundError, match=r'convert_checkpoint.py downloads/rpn_coco_48'):
            getattr(runner(model, place), mode)()
    assert not list((place / 'run').glob('*.pth'))
