# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer weights from files: complete, and not overwritten by what mmengine does next."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from regionclip_mmdet.models.weights import LoadReport


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny_models.save_localizer(tmp_path / 'localizer.pth', seed=7)


def weights_of(path: Path) -> dict[str, Tensor]:
    return torch.load(path)['state_dict']


def assert_filled(module: nn.Module, expected: dict[str, Tensor]) -> None:
    own = module.state_dict()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[key], value) for key, value in expected.items())


def test_init_weights_keeps_what_was_loaded(file: Path) -> None:
    """mmengine initialises children after their parent; a ResNet would become random again."""
    localizer = MODELS.build(tiny_models.localizer(file))
    localizer.init_weights()
    assert_filled(localizer, weights_of(file))
    assert localizer.weights_source == str(file)


def test_init_weights_of_a_whole_detector(file: Path) -> None:
    detector = MODELS.build(tiny_models.detector_config(localizer=tiny_models.localizer(file)))
    detector.init_weights()
    assert_filled(detector.localizer, weights_of(file))


@pytest.mark.parametrize('layout', ['bare', 'detector', 'faster_rcnn', 'rpn', 'no_counters'])
def test_layouts_of_files(file: Path, tmp_path: Path, layout: str) -> None:
    expected = weights_of(file)
    state = dict(expected)
    if layout == 'detector':
        state = {f'localizer.{k}': v for k, v in expected.items()}
        state['backbone.conv1.weight'] = torch.zeros(1)  # another network's
    elif layout == 'faster_rcnn':
        state['roi_head.bbox_head.fc_cls.weight'] = torch.zeros(3, 3)
    elif layout == 'rpn':
        state = {k.replace('rpn_head.', 'bbox_head.'): v for k, v in expected.items()}
    elif layout == 'no_counters':
        state = {k: v for k, v in expected.items() if 'num_batches_tracked' not in k}
    torch.save(state if layout == 'bare' else dict(state_dict=state), tmp_path / 'other.pth')
    localizer = MODELS.build(tiny_models.localizer(tmp_path / 'other.pth'))
    localizer.init_weights()
    assert_filled(localizer, expected)


@pytest.mark.parametrize('fault', ['missing', 'shape'])
def test_a_file_that_does_not_fill_it_is_refused(file: Path, tmp_path: Path, fault: str) -> None:
    state = weights_of(file)
    weight = state.pop('rpn_head.rpn_reg.weight')
    if fault == 'shape':
        state['rpn_head.rpn_reg.weight'] = weight[:4]
    torch.save(state, tmp_path / 'other.pth')
    localizer = MODELS.build(tiny_models.localizer(tmp_path / 'other.pth'))
    before = {k: v.clone() for k, v in localizer.state_dict().items()}
    message = 'does not fill the localizer: 1 tensors.*rpn_reg.weight'
    with pytest.raises(RuntimeError, match=message):
        localizer.init_weights()
    assert_filled(localizer, before)
    assert getattr(localizer, 'weights_source', None) is None


def test_random_weights_on_purpose() -> None:
    localizer = MODELS.build(tiny_models.localizer())
    localizer.init_weights()
    assert localizer.weights_source == 'random, as the config asks'


def test_report() -> None:
    own = {k: torch.zeros(2) for k in ('a.w', 'a.v', 'a.b.w', 'c.w', 'x')}
    given = {'a.w': 2, 'a.b.w': 3, 'x': 2, 'y': 1}
    given = {key: torch.zeros(size) for key, size in given.items()}
    report = LoadReport.compare('Net', own, given, ('a', 'a.b', 'c'))
    assert report.matched == {'a': 1, '': 1}
    assert report.missing == {'a': ['a.v'], 'c': ['c.w']}
    assert report.mismatched == {'a.b': ['a.b.w (model (2,), file (3,))']}
    assert report.unexpected == ['y']
    assert not any(report.is_complete(part) for part in ('a', 'a.b', 'c'))
    assert LoadReport.compare('Net', own, own, ('a', 'c')).is_complete('a')
    rows = str(report).splitlines()
    assert [row.split() for row in rows[1:4]] == [
        ['(other)', '1', '0', '0'],
        ['a', '1', '1', '0'],
        ['a.b', '0', '0', '1'],
    ]
    assert rows[-1].endswith('unused keys of the file: 1, e.g. y')
