# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Configs, weights, text encoders: what users give, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from helpers import tiny_inference, tiny_models
from regionclip_mmdet import config_path
from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.apis.model_sources import find_config
from regionclip_mmdet.apis.text_source import tower_sizes
from regionclip_mmdet.models.text import CLIPTextEncoder

NAMES = ['tram', 'a river']
PROMPTS = ['a {}', 'a photo of a {}']


def text_encoder(files: tiny_inference.DetectorFiles) -> CLIPTextEncoder:
    encoder = MODELS.build(tiny_models.text_encoder(files.clip))
    encoder.init_weights()
    return encoder


def expected(files: tiny_inference.DetectorFiles) -> torch.Tensor:
    return text_encoder(files).encode_names(NAMES, PROMPTS).matrix


def bare(files: tiny_inference.DetectorFiles, **settings: object) -> RegionCLIPInferencer:
    return RegionCLIPInferencer(
        files.bare_config, files.bare_checkpoint, device='cpu', show_progress=False, **settings
    )


class TestTextEncoder:
    def test_of_the_config_filled_by_the_checkpoint(
        self, files: tiny_inference.DetectorFiles
    ) -> None:
        one = RegionCLIPInferencer(files.config, files.checkpoint, 'cpu', show_progress=False)
        found = one.vocabulary(NAMES)
        assert found.names == tuple(NAMES)
        torch.testing.assert_close(found.matrix, expected(files))

    def test_of_the_checkpoint_alone(
        self, files: tiny_inference.DetectorFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # heads of CLIP are 64 wide, of the tiny one 8
        monkeypatch.setattr(
            'regionclip_mmdet.apis.text_source.tower_sizes', lambda state: tiny_models.TEXT_ARCH
        )
        one = RegionCLIPInferencer(files.bare_config, files.checkpoint, 'cpu', show_progress=False)
        assert one.model.text_encoder is None
        torch.testing.assert_close(one.vocabulary(NAMES).matrix, expected(files))

    def test_sizes_are_read_off_the_tensors(self) -> None:
        with torch.device('meta'):
            state = CLIPTextEncoder('RN50x4').state_dict()
        assert tower_sizes(state) == dict(
            context_length=77, vocab_size=49408, width=640, heads=10, layers=12, embed_dim=640
        )

    def test_given_as_config_or_module(self, files: tiny_inference.DetectorFiles) -> None:
        for given in (tiny_models.text_encoder(files.clip), text_encoder(files)):
            found = bare(files, text_encoder=given).vocabulary(NAMES)
            torch.testing.assert_close(found.matrix, expected(files))

    def test_given_as_a_file(self, files: tiny_inference.DetectorFiles) -> None:
        """CLIP weights, or a checkpoint with a text encoder; what the model has does not matter."""
        for given in (files.clip, str(files.checkpoint)):
            one = RegionCLIPInferencer(
                files.config, files.bare_checkpoint, 'cpu', given, show_progress=False
            )
            assert one.model.text_encoder is None
            torch.testing.assert_close(one.vocabulary(NAMES).matrix, expected(files))

    def test_a_file_of_unknown_sizes(self, files: tiny_inference.DetectorFiles) -> None:
        with pytest.raises(ValueError, match='sizes of the text tower are not known'):
            bare(files, text_encoder=files.clip).vocabulary(NAMES)

    def test_none(self, files: tiny_inference.DetectorFiles) -> None:
        one = bare(files)
        with pytest.raises(RuntimeError, match=r'text_encoder=FILE.*embed_names\.py'):
            one(tiny_inference.image(), texts=NAMES)
        assert one.vocabulary(files.names).names == ('tram', 'bridge')
        (result,) = one(tiny_inference.image(), texts=files.names)['predictions']
        assert set(result['label_names']) <= {'tram', 'bridge'} and result['labels']

    def test_random_weights(self, files: tiny_inference.DetectorFiles) -> None:
        given = dict(type='CLIPTextEncoder', arch=tiny_models.TEXT_ARCH)
        with pytest.raises(RuntimeError, match='names no weights'):
            bare(files, text_encoder=given).vocabulary(NAMES)

    def test_another_width(self, files: tiny_inference.DetectorFiles) -> None:
        arch = dict(tiny_models.TEXT_ARCH, embed_dim=16)
        given = dict(type='CLIPTextEncoder', arch=arch, init_cfg=tiny_models.RANDOM)
        with pytest.raises(ValueError, match='16-dimensional, those of this model 32-dimensional'):
            bare(files, text_encoder=given).vocabulary(NAMES)


class TestPrompts:
    def test_of_the_config_of_the_inferencer_and_of_the_call(
        self, files: tiny_inference.DetectorFiles
    ) -> None:
        encoder = text_encoder(files)
        by_config = bare(files, text_encoder=encoder)
        by_argument = bare(files, text_encoder=encoder, templates=['{} !'])
        torch.testing.assert_close(by_config.vocabulary(NAMES).matrix, expected(files))
        torch.testing.assert_close(
            by_argument.vocabulary(NAMES).matrix, encoder.encode_names(NAMES, ['{} !']).matrix
        )
        torch.testing.assert_close(
            by_config.vocabulary(NAMES, templates='plain').matrix,
            encoder.encode_names(NAMES, 'plain').matrix,
        )


def test_nothing_is_asked_for_embeddings(files: tiny_inference.DetectorFiles) -> None:
    one = bare(files)
    vocabulary = tiny_models.vocabulary()
    assert one.vocabulary(vocabulary) is vocabulary


class TestModels:
    def test_configs_of_the_package_are_found_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        name = 'zero_shot/regionclip_rn50_rpn_zero-shot_lvis.py'
        for given in (name, f'configs/{name}', name.removesuffix('.py'), Path(name).stem):
            assert find_config(given) == config_path(name)
        own = tmp_path / 'own.py'
        own.touch()
        assert find_config(own) == str(own)
        with pytest.raises(FileNotFoundError, match='regionclip_rn50_rpn_zero-shot_lvis'):
            find_config('regionclip_rn50_rpn_zero-shot_lvs')

    def test_missing_weights(self, files: tiny_inference.DetectorFiles, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
            RegionCLIPInferencer(files.config, tmp_path / 'nowhere.pth')
        with pytest.raises(FileNotFoundError, match='convert_checkpoint'):
            RegionCLIPInferencer('regionclip_rn50_rpn_zero-shot_lvis')  # its load_from

    def test_without_any_weights(self, files: tiny_inference.DetectorFiles) -> None:
        with pytest.raises(RuntimeError, match="'backbone' .* random weights"):
            RegionCLIPInferencer(files.bare_config, device='cpu')

    def test_a_model_or_a_config_in_hand(self, files: tiny_inference.DetectorFiles) -> None:
        model = bare(files).model
        cfg = Config.fromfile(files.bare_config)
        results = [
            RegionCLIPInferencer(*given, device='cpu').query(
                files.names, image=tiny_inference.image()
            )
            for given in ((model,), (cfg, files.bare_checkpoint))
        ]
        assert results[0] == results[1] and results[0]['labels']

    def test_other_detectors_are_refused(self, tmp_path: Path) -> None:
        cfg = tiny_inference.config()
        cfg.model = dict(
            type='RPN',
            neck=None,
            backbone=tiny_models.LOCALIZER['backbone'],
            rpn_head=tiny_models.LOCALIZER['rpn_head'],
            train_cfg=None,
            test_cfg=dict(rpn=dict(nms_pre=1)),
        )
        with pytest.raises(TypeError, match='needs an OpenVocabularyRCNN, not a RPN'):
            RegionCLIPInferencer(cfg, device='cpu')

    def test_no_own_vocabulary(self, files: tiny_inference.DetectorFiles) -> None:
        with pytest.warns(UserWarning, match='generated at random'):
            one = RegionCLIPInferencer(files.bare_config, 'random', device='cpu')
        with pytest.raises(RuntimeError, match='no vocabulary'):
            one(tiny_inference.image())


def test_generated_weights_detect_and_are_always_the_same(
    files: tiny_inference.DetectorFiles,
) -> None:
    results = []
    state = torch.random.get_rng_state()
    for _ in range(2):
        with pytest.warns(UserWarning, match='generated at random'):
            one = RegionCLIPInferencer(files.config, 'random', device='cpu', show_progress=False)
        results.append(one.query(NAMES, image=tiny_inference.image()))
    assert results[0] == results[1]
    assert len(results[0]['labels']) > 3
    assert torch.equal(torch.random.get_rng_state(), state)
