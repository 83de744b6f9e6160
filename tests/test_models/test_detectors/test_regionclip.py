# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining: what is learned from, what stays frozen, what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.detectors import RegionCLIP
from regionclip_mmdet.models.detectors.teachers import SharedFrozenSteps
from regionclip_mmdet.models.text import TextEmbeddings

WATCHED = ('regions_kept', 'teacher_agreement', 'teacher_score')
SIZES = ((64, 80), (80, 64))
CAPTIONS = ('a cat on a mat', 'two red balls')
BOXES = [
    torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0]]),
    torch.tensor([[0.0, 0.0, 64.0, 80.0], [20.0, 10.0, 60.0, 50.0], [2.0, 2.0, 20.0, 30.0]]),
]


def pretrainer(**settings: object) -> RegionCLIP:
    model = MODELS.build(tiny_models.regionclip_config(**settings))
    tiny_models.fill(model, seed=1)
    if model.teacher is not None:
        tiny_models.fill(model.teacher, seed=2)
    if model.text_encoder is not None:
        tiny_models.fill(model.text_encoder, seed=3)
    if model.localizer is not None:
        tiny_models.fill(model.localizer, seed=4)
    return model


def samples(proposals: list[Tensor] | None = BOXES) -> list:
    return tiny_models.samples(*SIZES, captions=CAPTIONS, proposals=proposals)


def loss(model: RegionCLIP, proposals: list[Tensor] | None = BOXES) -> dict[str, Tensor]:
    return model.loss(tiny_models.images(*SIZES), samples(proposals))


class TestLoss:
    def test_is_made_of_the_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, 'randperm', lambda n, **kw: torch.arange(n))
        model, batch = pretrainer(), tiny_models.images(*SIZES)
        losses = loss(model)
        rois = bbox2roi(BOXES)
        whole = torch.tensor([[0.0, 0, 0, 80, 64], [1, 0, 0, 64, 80]])
        teacher = model.teacher.region_encoder(model.teacher.backbone(batch), rois)
        encode, feats = model.roi_head.region_encoder, model.backbone(batch)
        expected = model.roi_head.region_text_head.loss(encode(feats, rois), teacher)
        expected['loss_image_text'] = model.roi_head.loss_image_text(
            encode(feats, whole), model.text_encoder(list(CAPTIONS))
        )
        assert losses.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(losses[key], value, rtol=1e-4, atol=1e-4)
        assert losses['loss_image_text'] > 0.1 and losses['loss_region_distill'] > 0.1

    def test_frozen_steps_that_are_equal_run_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, 'randperm', lambda n, **kw: torch.arange(n))
        model = pretrainer()
        model.teacher.backbone.load_state_dict(model.backbone.state_dict())
        stems = []
        stem = CLIPResNet._stem
        monkeypatch.setattr(
            CLIPResNet, '_stem', lambda self, x: stems.append(self) or stem(self, x)
        )
        shared = loss(model)
        assert len(stems) == 1
        sum(v for k, v in shared.items() if 'loss' in k).backward()
        gradient = model.backbone.layer2[0].conv1.weight.grad
        assert gradient.abs().sum() > 0 and model.backbone.conv1.weight.grad is None

        model.zero_grad()
        monkeypatch.setattr(SharedFrozenSteps, 'count', lambda self, *backbones: 0)
        apart = loss(model)
        assert len(stems) == 3
        sum(v for k, v in apart.items() if 'loss' in k).backward()
        for key, value in apart.items():
            assert torch.equal(shared[key], value), key
        assert torch.equal(gradient, model.backbone.layer2[0].conv1.weight.grad)

    def test_a_teacher_of_another_scale_shares_nothing(self) -> None:
        model = pretrainer()
        model.teacher.backbone.load_state_dict(model.backbone.state_dict())
        model.teacher.scale = 1.5
        assert all(value.isfinite() for value in loss(model).values())

    def test_with_the_localizers_regions(self) -> None:
        model = pretrainer(num_regions=3)
        rois = model.sample_regions(tiny_models.images(*SIZES), samples(None))
        assert rois[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
        assert all(value.isfinite() for value in loss(model, None).values())

    def test_captions_alone(self) -> None:
        model = pretrainer(roi_head=dict(region_text_head=None), teacher=None, localizer=None)
        losses = model.loss(
            tiny_models.images(*SIZES), tiny_models.samples(*SIZES, captions=CAPTIONS)
        )
        assert set(losses) == {'loss_image_text'}
        with pytest.raises(RuntimeError, match='no pseudo labels to predict'):
            model.predict(tiny_models.images(*SIZES), samples())

    def test_regions_alone_need_no_captions(self) -> None:
        model = pretrainer(roi_head=dict(loss_image_text=None), text_encoder=None)
        losses = model.loss(tiny_models.images(*SIZES), tiny_models.samples(*SIZES))
        assert set(losses) == {'loss_region_distill', 'loss_region_contrast', *WATCHED}

    def test_missing_captions_are_named(self) -> None:
        with pytest.raises(ValueError, match='sample of 0.jpg has no caption: text is None'):
            pretrainer().loss(
                tiny_models.images(*SIZES), tiny_models.samples(*SIZES, proposals=BOXES)
            )

    def test_images_without_regions(self) -> None:
        losses = loss(pretrainer(), [torch.zeros(0, 4)] * 2)
        assert float(losses['loss_region_distill'].detach()) == 0
        total = sum(v for k, v in losses.items() if 'loss' in k)
        total.backward()


class TestRegions:
    def test_a_random_subset_of_each_image(self) -> None:
        model = pretrainer(num_regions=4)
        generator = torch.Generator().manual_seed(0)
        many = [torch.rand(n, 4, generator=generator) for n in (30, 3)]
        batch, seen = tiny_models.images(*SIZES), set()
        for _ in range(60):
            rois = model.sample_regions(batch, samples(many))
            assert rois[:, 0].tolist() == [0] * 4 + [1] * 3
            rows = [int((many[0] == roi[1:]).all(1).nonzero()) for roi in rois[:4]]
            assert len(set(rows)) == 4
            seen.update(rows)
        assert seen == set(range(30))  # every proposal has its chance

    def test_the_seed_decides(self) -> None:
        model, batch = pretrainer(num_regions=2), tiny_models.images(*SIZES)
        drawn = []
        for _ in range(2):
            torch.manual_seed(5)
            drawn.append(model.sample_regions(batch, samples([torch.rand(9, 4), BOXES[1]]))[2:])
        assert torch.equal(*drawn)


class TestFrozen:
    def test_only_the_student_learns(self) -> None:
        model = pretrainer().train()
        for part in (model.teacher, model.text_encoder, model.localizer):
            assert not any(module.training for module in part.modules())
            assert not any(p.requires_grad for p in part.parameters())
        frozen = {
            f'{name}.{key}': value.clone()
            for name in ('teacher', 'text_encoder', 'localizer')
            for key, value in getattr(model, name).state_dict().items()
        }
        student = {k: v.clone() for k, v in model.state_dict().items()}
        # even an optimizer that is given everything
        optimizer = torch.optim.SGD(model.parameters(), 0.01, weight_decay=0.1)
        for _ in range(2):
            losses = loss(model, None)
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            optimizer.step()
        for key, value in frozen.items():
            name, _, rest = key.partition('.')
            assert torch.equal(getattr(model, name).state_dict()[rest], value), key
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, student[k])}
        assert 'backbone.layer2.0.conv1.weight' in changed
        assert 'roi_head.region_encoder.attnpool.positional_embedding' in changed
        assert not any(k.startswith(('backbone.layer1', 'backbone.conv')) for k in changed)
        assert not any('bn' in k for k in changed)

    def test_the_teacher_has_its_own_sizes(self) -> None:
        arch = dict(tiny_models.ARCH, width=32, embed_dim=48)
        parts = {
            name: dict(getattr(tiny_models, builder)(), arch=arch)
            for name, builder in (('backbone', 'backbone'), ('region_encoder', 'encoder'))
        }
        pool = tiny_models.vocabulary(dim=48)
        model = pretrainer(teacher=parts, region_text_head=dict(teacher_concept_pool=pool))
        assert all(value.isfinite() for value in loss(model).values())


def test_the_teacher_may_see_an_enlarged_batch() -> None:
    """Boxes follow the image, each axis by its own rounded ratio."""
    plain = pretrainer().teacher
    config = dict(backbone=tiny_models.backbone(), region_encoder=tiny_models.encoder())
    model = pretrainer(teacher=dict(config, scale=1.5)).teacher
    batch = tiny_models.images((63, 80))
    rois = torch.tensor([[0.0, 4, 6, 40, 36]])
    large = F.interpolate(batch, (94, 120), mode='bilinear', align_corners=False)
    scaled = torch.tensor([[0.0, 4 * 1.5, 6 * 94 / 63, 40 * 1.5, 36 * 94 / 63]])
    torch.testing.assert_close(model(batch, rois), plain(large, scaled))
    assert torch.cosine_similarity(model(batch, rois), plain(batch, rois)) < 0.999
    with pytest.raises(ValueError, match='scale must be positive, not 0'):
        MODELS.build(tiny_models.regionclip_config(teacher=dict(config, scale=0)))


def test_predicted_pseudo_labels() -> None:
    model = pretrainer(region_text_head=dict(concept_threshold=0.5)).eval()
    results = model.predict(tiny_models.images(*SIZES), samples())
    head, batch = model.roi_head.region_text_head, tiny_models.images(*SIZES)
    kept = 0
    for i, sample in enumerate(results):
        found = sample.pred_instances
        rois = torch.cat([torch.full((len(found), 1), float(i)), found.bboxes], 1)
        target = head.pseudo_label(model.teacher(batch, rois))
        assert torch.equal(target.labels, found.labels)
        torch.testing.assert_close(target.probs.amax(1), found.scores, rtol=1e-3, atol=1e-4)
        assert {tuple(b) for b in found.bboxes.tolist()} <= {tuple(b) for b in BOXES[i].tolist()}
        kept += len(found)
    assert kept > 0


def test_forward_of_regions() -> None:
    model = pretrainer(num_regions=1).eval()
    assert model(tiny_models.images(*SIZES), samples(), mode='tensor').shape == (2, 32)


def test_images_and_texts_alone_run_no_teacher_and_no_localizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_models.regionclip_config(roi_head=dict(region_text_head=None))
    model = MODELS.build(config).train()
    assert model.teacher is None
    monkeypatch.setattr(model.localizer, 'forward', None)
    found = loss(model, None)
    assert list(found) == ['loss_image_text'] and found['loss_image_text'] > 0
    # a checkpoint of the full model serves it all the same
    full = pretrainer(save_frozen=True)
    model.load_state_dict(full.state_dict(), strict=False)
    assert torch.equal(model.backbone.conv1.weight, full.backbone.conv1.weight)


@pytest.mark.parametrize('whose', ['student', 'teacher'])
def test_concepts_of_another_width_are_refused(whose: str, tmp_path: Path) -> None:
    wide = TextEmbeddings(tiny_models.NAMES, torch.ones(3, 16), dict(model='RN50x4'))
    wide.save(tmp_path / 'pool.pth')
    key = 'concept_pool' if whose == 'student' else 'teacher_concept_pool'
    for pool, origin in (
        (str(tmp_path / 'pool.pth'), 'in .*pool.pth '),
        (wide, '.made by RN50x4. '),
    ):
        message = (
            f'The {whose} makes embeddings of width 32, but its concept pool {origin}has .* 16'
        )
        with pytest.raises(ValueError, match=message):
            MODELS.build(tiny_models.regionclip_config(region_text_head={key: pool}))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(teacher=None), 'region_text_head needs a teacher'),
        (dict(text_encoder=None), 'loss_image_text needs a text_encoder'),
    ],
)
def test_missing_parts(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS.build(tiny_models.regionclip_config(**settings))
