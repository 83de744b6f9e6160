# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Localizer weights from files: complete, and not overwritten by what mmengine does next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from helpers import tiny_models
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
    """mmengine initializes children after their parent; a ResNet would become random again."""
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
    message = r'does not fill RPNLocalizer: 1 of \d+ tensors.*rpn_reg.weight'
    with pytest.raises(RuntimeError, match=message):
        localizer.init_weights()
    assert_filled(localizer, before)
    assert getattr(localizer, 'weights_source', None) is None


class TestPretrained:
    """mmengine's own initializer, made strict by the guard."""

    def config(self, checkpoint: Path, **settings: object) -> dict:
        config = tiny_models.detector_config()
        config.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), **settings)
        config.roi_head.region_encoder.init_cfg = dict(type='RandomWeights')
        return config

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        model = tiny_models.fill(MODELS.build(tiny_models.detector_config()), seed=7)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'detector.pth')
        return tmp_path / 'detector.pth'

    @pytest.mark.parametrize('prefix', ['backbone', 'backbone.'])
    @pytest.mark.parametrize('late', [False, True])
    def test_a_part(self, checkpoint: Path, prefix: str, late: bool) -> None:
        """``late``: as in testing, where nobody calls ``init_weights``."""
        model = MODELS.build(self.config(checkpoint, prefix=prefix))
        model.ensure_weights('backbone') if late else model.init_weights()
        expected = weights_of(checkpoint)
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(value, expected[f'backbone.{key}'])
        assert model.weight_sources()['backbone'] == str(checkpoint)

    def test_a_file_that_fits_in_part_is_refused(self, checkpoint: Path) -> None:
        content = torch.load(checkpoint)
        del content['state_dict']['backbone.layer3.0.conv1.weight']
        torch.save(content, checkpoint)
        model = MODELS.build(self.config(checkpoint, prefix='backbone.'))
        before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
        with pytest.raises(RuntimeError, match='does not fill CLIPResNet: 1 of .*layer3.0.conv1'):
            model.init_weights()
        assert_filled(model.backbone, before)
        assert model.weight_sources()['backbone'] is None

    def test_a_forgotten_prefix(self, checkpoint: Path) -> None:
        with pytest.raises(RuntimeError, match='does not fill CLIPResNet: 75 of 75.*prefix that'):
            MODELS.build(self.config(checkpoint)).init_weights()

    @pytest.mark.parametrize('late', [False, True])
    def test_the_whole_model(self, checkpoint: Path, late: bool) -> None:
        config = tiny_models.detector_config()
        config.backbone.init_cfg = config.roi_head.region_encoder.init_cfg = None
        config.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
        model = MODELS.build(config)
        model.ensure_weights() if late else model.init_weights()
        assert set(model.weight_sources().values()) == {f'checkpoint {checkpoint}'}
        expected = weights_of(checkpoint)
        assert torch.equal(model.backbone.conv1.weight, expected['backbone.conv1.weight'])


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
