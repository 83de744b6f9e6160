# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Parts that name a source are filled when the model is used, if nobody has filled them before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.apis import init_detector
from mmengine.config import Config

from helpers import tiny_models
from helpers.guarded_models import (
    bare_localizer,
    detector,
    predict,
    pretrainer,
    unguarded,
)
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN


class TestFillingLate:
    """``Runner.test`` and ``init_detector`` never call ``init_weights``."""

    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        return tiny_models.save_clip(tmp_path / 'clip.pth', seed=11)

    @pytest.fixture
    def config(self, clip: Path, tmp_path: Path) -> dict:
        rpn = tiny_models.save_localizer(tmp_path / 'localizer.pth', seed=12)
        return tiny_models.detector_config(
            clip,
            localizer=tiny_models.localizer(rpn),
            text_encoder=tiny_models.text_encoder(clip),
            bbox_head=dict(with_reg=False),
        )

    def assert_filled(self, model: OpenVocabularyRCNN, clip: Path) -> None:
        weights = torch.load(clip)
        assert torch.equal(model.backbone.conv1.weight, weights['visual.conv1.weight'])
        layer4 = model.roi_head.region_encoder.layer4
        assert torch.equal(layer4[0].conv1.weight, weights['visual.layer4.0.conv1.weight'])
        projection = model.text_encoder.model.text_projection
        assert torch.equal(projection, weights['text_projection'])
        rpn = torch.load(clip.parent / 'localizer.pth')['state_dict']
        own = model.localizer.state_dict()
        assert all(torch.equal(own[key], value) for key, value in rpn.items())

    def test_at_predict(self, config: dict, clip: Path) -> None:
        model = detector(config)
        assert set(model.weight_sources().values()) == {None}
        predict(model, None)
        self.assert_filled(model, clip)
        assert model.weight_sources()['backbone'] == str(clip)

    def test_equals_init_weights(self, config: dict) -> None:
        early, late = detector(config), detector(config)
        early.init_weights()
        torch.testing.assert_close(predict(late, None), predict(early, None))

    def test_at_set_vocabulary(self, config: dict, clip: Path) -> None:
        model = detector(config)
        model.set_vocabulary(['cat', 'red ball', 'x'], templates=['a {}'])
        filled = detector(config)
        filled.init_weights()
        expected = filled.text_encoder.encode_names(['cat', 'red ball', 'x'], ['a {}'])
        matrix = model.roi_head.bbox_head.active_classifier.embeddings
        torch.testing.assert_close(matrix, expected.matrix)

    def test_what_a_checkpoint_brought_is_not_overwritten(self, config: dict, clip: Path) -> None:
        trained = tiny_models.fill(pretrainer(localizer=None), seed=21)
        model = detector(config)
        model.load_state_dict(trained.state_dict(), strict=False)
        predict(model, None)
        assert torch.equal(model.backbone.conv1.weight, trained.backbone.conv1.weight)
        assert model.weight_sources() == {
            'backbone': 'checkpoint',
            'roi_head.region_encoder': 'checkpoint',
            'localizer': str(clip.parent / 'localizer.pth'),
            'text_encoder': str(clip),
        }

    def test_a_file_that_a_checkpoint_supersedes_is_named(
        self, config: dict, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logged: list[str] = []
        monkeypatch.setattr(
            'regionclip_mmdet.models.weights.guard.print_log', lambda msg, *a: logged.append(msg)
        )
        no_reg = dict(with_reg=False)
        trained = tiny_models.fill(detector(localizer=bare_localizer(), bbox_head=no_reg), seed=21)
        detector(config).load_state_dict(trained.state_dict(), strict=False)
        unused = [line for line in logged if 'not from' in line]
        assert (
            f"localizer: from this checkpoint, not from init_cfg's {clip.parent / 'localizer.pth'}"
            in unused
        )
        # the text encoder is not in the checkpoint
        assert not [line for line in unused if line.startswith('text_encoder')]

    def test_through_init_detector(self, config: dict, clip: Path, tmp_path: Path) -> None:
        trained = tiny_models.fill(pretrainer(localizer=None), seed=21)
        checkpoint = dict(
            state_dict=trained.state_dict(), meta=dict(dataset_meta=dict(classes=tiny_models.NAMES))
        )
        torch.save(checkpoint, tmp_path / 'pretrained.pth')
        model = init_detector(
            Config(dict(model=config)),
            str(tmp_path / 'pretrained.pth'),
            palette='random',
            device='cpu',
        )
        predict(model, None)
        assert model.weight_sources()['localizer'] == str(clip.parent / 'localizer.pth')
        assert torch.equal(model.backbone.conv1.weight, trained.backbone.conv1.weight)

    def test_init_detector_without_a_checkpoint(self, config: dict, clip: Path) -> None:
        """It deletes the backbone's init_cfg, unless it is given some options."""
        settings = dict(palette='random', device='cpu')
        model = init_detector(Config(dict(model=config)), cfg_options={}, **settings)
        predict(model, None)
        self.assert_filled(model, clip)
        model = init_detector(Config(dict(model=config)), **settings)
        with pytest.raises(RuntimeError, match="'backbone' .* random weights.*cfg_options={}"):
            predict(model, None)

    def test_init_detector_without_the_localizer(self, tmp_path: Path) -> None:
        torch.save(dict(state_dict=detector().state_dict()), tmp_path / 'c.pth')
        config = Config(dict(model=unguarded(dict(localizer=bare_localizer()))))
        with pytest.raises(RuntimeError, match="'localizer': .* missing"):
            init_detector(config, str(tmp_path / 'c.pth'), palette='random', device='cpu')
