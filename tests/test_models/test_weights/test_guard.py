# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""No part runs on random weights and no checkpoint is half-loaded, whichever way it comes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from helpers import tiny_models
from helpers.guarded_models import (
    BOXES,
    SIZE,
    bare_localizer,
    bare_text_encoder,
    detector,
    predict,
    pretrainer,
    unguarded,
)

Loader = Callable[[nn.Module, dict], object]


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in (*model.named_parameters(), *model.named_buffers())}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = snapshot(model)
    return after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)


@pytest.fixture(params=['torch', 'torch_loose', 'mmengine'])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Loader:
    """The three ways in which checkpoints reach a model."""

    def through_file(model: nn.Module, state: dict) -> None:
        torch.save(dict(state_dict=state), tmp_path / 'checkpoint.pth')
        load_checkpoint(model, str(tmp_path / 'checkpoint.pth'), map_location='cpu')

    return dict(
        torch=lambda model, state: model.load_state_dict(state),
        torch_loose=lambda model, state: model.load_state_dict(state, strict=False),
        mmengine=through_file,
    )[request.param]


class TestLoading:
    def test_a_complete_checkpoint(self, load: Loader) -> None:
        source = tiny_models.fill(detector(localizer=bare_localizer()))
        model = detector(localizer=bare_localizer())
        load(model, source.state_dict())
        assert all(s.startswith('checkpoint') for s in model.weight_sources().values())
        assert set(model.weight_sources()) == {
            'backbone',
            'roi_head.region_encoder',
            'roi_head.bbox_head.fc_reg',
            'localizer',
        }
        load(source, source.state_dict())
        assert predict(source, None).unique().numel() > 2
        torch.testing.assert_close(predict(model, None), predict(source, None))

    def test_without_the_localizer_is_refused(self, load: Loader) -> None:
        state = detector().state_dict()
        model = tiny_models.fill(detector(localizer=bare_localizer()))
        before = snapshot(model)
        with pytest.raises(RuntimeError, match="'localizer': .* missing, e.g. localizer.backbone"):
            load(model, state)
        assert unchanged(model, before)

    def test_a_text_encoder_without_weights_is_refused(self, load: Loader) -> None:
        model = detector(text_encoder=bare_text_encoder())
        with pytest.raises(RuntimeError, match="'text_encoder': .* missing"):
            load(model, detector().state_dict())

    @pytest.mark.parametrize(
        ('spoil', 'message'),
        [
            (
                lambda s: s.update({'backbone.conv1.weight': torch.zeros(8, 3, 5, 5)}),
                r"'backbone': 1 of another shape or type, e.g. backbone.conv1.weight .model "
                r'\(8, 3, 3, 3\), file \(8, 3, 5, 5\)',
            ),
            (lambda s: s.pop('backbone.layer2.0.bn1.running_var'), "'backbone': 1 missing"),
            (lambda s: s.pop('roi_head.bbox_head.fc_reg.bias'), "'roi_head.bbox_head.fc_reg': 1"),
            (
                lambda s: s.update({'backbone.layer5.weight': torch.zeros(1)}),
                '1 unexpected keys, e.g. backbone.layer5.weight',
            ),
            (lambda s: s.update({'rpn_head.w': torch.zeros(1)}), '1 unexpected keys, e.g. rpn'),
        ],
    )
    def test_surprises_are_refused_and_nothing_is_changed(
        self, load: Loader, spoil: Callable, message: str
    ) -> None:
        state = tiny_models.fill(detector(), seed=3).state_dict()
        spoil(state)
        model = detector()
        before = snapshot(model)
        with pytest.raises(RuntimeError, match=message):
            load(model, state)
        assert unchanged(model, before)
        with pytest.raises(RuntimeError, match='holds random weights'):
            predict(model)

    def test_a_half_present_part_is_refused_even_where_it_could_be_filled(
        self, load: Loader, tmp_path: Path
    ) -> None:
        state = detector().state_dict()
        for key in [k for k in state if k.startswith('backbone.layer3.')]:
            del state[key]
        model = detector(tiny_models.detector_config(tiny_models.save_clip(tmp_path / 'clip.pth')))
        with pytest.raises(RuntimeError, match="'backbone': .* missing, e.g. backbone.layer3"):
            load(model, state)

    def test_what_the_model_is_built_without_may_be_there(self) -> None:
        """E.g. a transferred detector tested zero-shot on ground-truth boxes."""
        state = tiny_models.fill(detector(localizer=bare_localizer())).state_dict()
        model = detector(bbox_head=dict(with_reg=False))
        model.load_state_dict(state, strict=False)
        assert len(predict(model)) > 0

    def test_the_report_counts_by_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logged: list[str] = []
        monkeypatch.setattr(
            'regionclip_mmdet.models.weights.guard.print_log', lambda msg, *a: logged.append(msg)
        )
        model = detector()
        model.load_state_dict(detector().state_dict())
        (report,) = logged
        counts = {row.split()[-4]: int(row.split()[-3]) for row in report.splitlines()[1:]}
        assert counts['roi_head.bbox_head.fc_reg'] == 2
        # sum of all but the vocabulary, which loads itself
        assert sum(counts.values()) == len(
            [k for k in model.state_dict() if 'classifier.' not in k]
        )

    def test_inside_a_wrapper(self) -> None:
        source = tiny_models.fill(detector(), seed=5)
        for model in (nn.Sequential(detector()), ExponentialMovingAverage(detector())):
            inner = model[0] if isinstance(model, nn.Sequential) else model.module
            name = '0' if isinstance(model, nn.Sequential) else 'module'
            own = dict(model.state_dict())
            state = {k: v for k, v in own.items() if not k.startswith(f'{name}.')}
            state.update({f'{name}.{k}': v for k, v in source.state_dict().items()})
            assert state.keys() == own.keys()
            model.load_state_dict(state)
            assert set(inner.weight_sources().values()) == {'checkpoint'}
            assert torch.equal(inner.backbone.conv1.weight, source.backbone.conv1.weight)
            del state[f'{name}.backbone.conv1.weight']
            with pytest.raises(RuntimeError, match="'backbone': 1 missing"):
                model.load_state_dict(state, strict=False)

    def test_inside_mmengines_data_parallel_wrapper(self, tmp_path: Path) -> None:
        torch.distributed.init_process_group(
            'gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1
        )
        try:
            model = MMDistributedDataParallel(detector(), broadcast_buffers=False)
            state = tiny_models.fill(detector(), seed=5).state_dict()
            torch.save(dict(state_dict=state), tmp_path / 'c.pth')
            load_checkpoint(model, str(tmp_path / 'c.pth'))
            assert set(model.module.weight_sources().values()) == {f'checkpoint {tmp_path}/c.pth'}
            assert torch.equal(model.module.backbone.conv1.weight, state['backbone.conv1.weight'])
            del state['backbone.conv1.weight']
            torch.save(dict(state_dict=state), tmp_path / 'c.pth')
            with pytest.raises(RuntimeError, match="'backbone': 1 missing"):
                load_checkpoint(model, str(tmp_path / 'c.pth'))
        finally:
            torch.distributed.destroy_process_group()

    def test_a_copy_is_guarded_for_itself(self) -> None:
        model = detector(localizer=bare_localizer(), text_encoder=None)
        twin = copy.deepcopy(model)
        twin.load_state_dict(tiny_models.fill(copy.deepcopy(model)).state_dict())
        assert len(predict(twin, None)) > 0
        with pytest.raises(RuntimeError, match='holds random weights'):
            predict(model)
        assert copy.deepcopy(twin).weight_sources() == twin.weight_sources()
        guarded = detector(text_encoder=tiny_models.text_encoder())
        assert not any('text_encoder' in key for key in copy.deepcopy(guarded).state_dict())


class TestRandomWeights:
    def test_predicting_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match="'backbone' of OpenVocabularyRCNN holds random w"):
            predict(detector())

    def test_raw_outputs_are_refused_too(self) -> None:
        for model in (
            detector(),
            pretrainer(text_encoder=bare_text_encoder()),
        ):
            with pytest.raises(RuntimeError, match='holds random weights'):
                model(
                    tiny_models.images(SIZE),
                    tiny_models.samples(SIZE, proposals=[BOXES]),
                    mode='tensor',
                )

    def test_predicting_in_training_mode_is_refused_too(self) -> None:
        """A model is built in training mode; that alone does not mean it is being trained."""
        config = unguarded({})
        config.backbone.frozen_stages = -1
        with pytest.raises(RuntimeError, match='holds random weights'):
            predict(detector(config).train())

    def test_setting_a_vocabulary_does_not_whitewash_the_rest(self) -> None:
        model = detector(text_encoder=tiny_models.text_encoder()).train()
        model.set_vocabulary(['cat', 'dog'], templates=['{}'])
        with pytest.raises(RuntimeError, match="'backbone' .* holds random weights"):
            predict(model.eval())

    def test_a_random_text_encoder_does_not_embed_names(self) -> None:
        model = detector(text_encoder=bare_text_encoder())
        with pytest.raises(RuntimeError, match="'text_encoder' .* holds random weights"):
            model.set_vocabulary(['cat', 'dog'])

    def test_training_all_of_a_part_is_legitimate(self) -> None:
        config = unguarded({})
        config.backbone.frozen_stages = -1
        model = detector(config).train()
        model.loss(tiny_models.images(SIZE), tiny_models.samples(SIZE, proposals=[BOXES]))
        assert set(model.weight_sources().values()) == {'trained here from random weights'}
        assert len(predict(model.eval())) > 0

    def test_training_on_a_frozen_random_stem_is_refused(self) -> None:
        model = detector().train()
        with pytest.raises(RuntimeError, match="'backbone' .* random weights, some of them frozen"):
            model.loss(tiny_models.images(SIZE), tiny_models.samples(SIZE, proposals=[BOXES]))

    def test_training_with_a_random_localizer_is_refused(self) -> None:
        model = detector(tiny_models.detector_config(localizer=bare_localizer())).train()
        with pytest.raises(RuntimeError, match="'localizer' .*LocalizerPretrained"):
            model.loss(tiny_models.images(SIZE), tiny_models.samples(SIZE))

    def test_an_evaluation_loss_trains_nothing(self) -> None:
        with pytest.raises(RuntimeError, match='holds random weights'):
            detector().loss(tiny_models.images(SIZE), tiny_models.samples(SIZE, proposals=[BOXES]))

    def test_pretraining_needs_its_frozen_parts(self) -> None:
        for part, config in (
            ('text_encoder', dict(text_encoder=bare_text_encoder())),
            ('localizer', dict(localizer=bare_localizer())),
            (
                'teacher.region_encoder',
                dict(
                    teacher=dict(
                        backbone=tiny_models.backbone(),
                        region_encoder=dict(tiny_models.encoder(), init_cfg=None),
                    )
                ),
            ),
        ):
            model = pretrainer(**config).train()
            with pytest.raises(RuntimeError, match=f"'{part}' of RegionCLIP holds random weights"):
                model.loss(tiny_models.images(SIZE), tiny_models.samples(SIZE, captions=['a cat']))


class TestFromPretrainingToDetection:
    def pretrained(self) -> dict[str, Tensor]:
        return tiny_models.fill(pretrainer(), seed=2).state_dict()

    # strictly, the regressor is missing
    @pytest.mark.parametrize('load', ['torch_loose', 'mmengine'], indirect=True)
    def test_the_box_regressor_must_be_trained_first(self, load: Loader) -> None:
        model = detector()
        load(model, self.pretrained())
        assert model.weight_sources()['backbone'].startswith('checkpoint')
        message = "'roi_head.bbox_head.fc_reg' .* holds random weights.*with_reg=False"
        with pytest.raises(RuntimeError, match=message):
            predict(model)
        model.train()
        model.loss(tiny_models.images(SIZE), tiny_models.samples(SIZE, proposals=[BOXES]))
        assert len(predict(model.eval())) > 0

    def test_zero_shot_needs_no_regressor(self, load: Loader) -> None:
        model = detector(bbox_head=dict(with_reg=False))
        load(model, self.pretrained())
        assert len(predict(model)) > 0

    def test_all_of_pretraining_may_be_in_the_file(self) -> None:
        state = tiny_models.fill(pretrainer(save_frozen=True), seed=2).state_dict()
        assert any(k.startswith('teacher.') for k in state)
        model = detector(bbox_head=dict(with_reg=False))
        model.load_state_dict(state, strict=False)
        assert len(predict(model)) > 0

    def test_a_detector_may_be_pretrained_further(self) -> None:
        model = pretrainer()
        model.load_state_dict(detector().state_dict(), strict=False)
        assert model.weight_sources()['backbone'] == 'checkpoint'

    def test_another_size_is_refused(self) -> None:
        config = unguarded({})
        arch = dict(tiny_models.ARCH, layers=(1, 2, 1, 1))
        config.backbone.arch = config.roi_head.region_encoder.arch = arch
        with pytest.raises(RuntimeError, match="'backbone': .* missing, e.g. backbone.layer2.1"):
            detector(config).load_state_dict(self.pretrained(), strict=False)


class TestSaving:
    def test_frozen_parts_are_left_out(self) -> None:
        prefixes = {key.split('.')[0] for key in pretrainer().state_dict()}
        assert prefixes == {'backbone', 'roi_head'}

    def test_unless_they_are_asked_for(self) -> None:
        prefixes = {key.split('.')[0] for key in pretrainer(save_frozen=True).state_dict()}
        assert prefixes == {'backbone', 'roi_head', 'teacher', 'text_encoder', 'localizer'}

    @pytest.mark.parametrize('save_frozen', [False, True])
    def test_round_trip(self, load: Loader, save_frozen: bool) -> None:
        source = tiny_models.fill(pretrainer(save_frozen=save_frozen), seed=3)
        model = tiny_models.fill(pretrainer(save_frozen=save_frozen), seed=4)
        frozen = {k: v.clone() for k, v in model.teacher.state_dict().items()}
        load(model, source.state_dict())
        expected = snapshot(source)
        for key, value in snapshot(model).items():
            if key.startswith('teacher.') and not save_frozen:
                assert torch.equal(value, frozen[key.removeprefix('teacher.')])
            elif save_frozen or key.startswith(('backbone.', 'roi_head.')):
                assert torch.equal(value, expected[key]), key

    def test_a_trained_part_cannot_be_left_out(self) -> None:
        with pytest.raises(ValueError, match="'text_encoder' of RegionCLIP is trained, but"):
            pretrainer(text_encoder=dict(tiny_models.text_encoder(), frozen=False))
        pretrainer(text_encoder=dict(tiny_models.text_encoder(), frozen=False), save_frozen=True)
