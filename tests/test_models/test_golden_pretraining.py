# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Case f: one pretraining step equals the official code's, losses, labels and gradients."""

from functools import lru_cache

import pytest
import torch
from golden import GoldenCase, max_abs, rel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.checkpoints.official import rename_official_key
from regionclip_mmdet.models.detectors import RegionCLIP
from regionclip_mmdet.models.text import TextEmbeddings

CASES = ('f_pretrain', 'f_pretrain_thr25', 'f_pretrain_fallback', 'f_pretrain_samepool')
IMAGES = ('image0', 'image1', 'image2')


@lru_cache(maxsize=1)
def build_model() -> RegionCLIP:
    inputs = GoldenCase('f_pretrain')
    parts = dict(
        backbone=dict(type='CLIPResNet', arch='RN50'),
        region_encoder=dict(type='RegionEncoder', arch='RN50'),
    )
    config = dict(
        type='RegionCLIP',
        backbone=parts['backbone'],
        roi_head=dict(
            type='RegionTextRoIHead',
            region_encoder=parts['region_encoder'],
            region_text_head=dict(
                type='RegionTextHead',
                concept_pool=TextEmbeddings.from_tensor(inputs['concept_pool_student']),
            ),
            global_box='padded',
        ),
        teacher=parts,
        text_encoder=dict(type='CLIPTextEncoder', arch='RN50', truncate='official'),
        save_frozen=True,
    )
    model = MODELS.build(config).train()
    inputs.load_weights(model)
    return model


def make_samples(inputs: GoldenCase) -> list[DetDataSample]:
    samples = []
    for i, name in enumerate(IMAGES):
        sample = DetDataSample(
            metainfo=dict(img_shape=tuple(inputs[name].shape[1:]), text=inputs.meta['captions'][i])
        )
        sample.proposals = InstanceData(bboxes=inputs[f'proposals{i}'])
        samples.append(sample)
    return samples


def configure(model: RegionCLIP, case: GoldenCase, inputs: GoldenCase) -> None:
    head = model.roi_head.region_text_head
    head.concept_threshold = case.meta['concept_threshold']
    separate = case.meta['teacher_pool'] == 'separate'
    head.teacher_concepts = inputs['concept_pool_teacher' if separate else 'concept_pool_student']


@pytest.mark.parametrize('name', CASES)
def test_pretraining_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, case = GoldenCase('f_pretrain'), GoldenCase(name)
    model = build_model()
    configure(model, case, inputs)
    # all 20 given proposals, in the given order
    monkeypatch.setattr(torch, 'randperm', lambda n, **kw: torch.arange(n))
    seen = {}
    label = model.roi_head.region_text_head.pseudo_label

    def spy(teacher: Tensor) -> object:
        seen['target'] = label(teacher)
        return seen['target']

    monkeypatch.setattr(model.roi_head.region_text_head, 'pseudo_label', spy)
    model.zero_grad()
    losses = model.loss(inputs.batch(list(IMAGES)), make_samples(inputs))
    sum(v for k, v in losses.items() if 'loss' in k).backward()

    limits = case.meta['thresholds']
    assert torch.equal(seen['target'].keep, case['keep_regions'])
    assert torch.equal(seen['target'].labels, case['target_inds'])
    assert seen['target'].is_fallback == (name == 'f_pretrain_fallback')
    if name == 'f_pretrain':
        scores = seen['target'].probs
        assert max_abs(scores, case['concept_scores_kept']) < limits['concept_scores_max_abs']
    assert rel(losses['loss_image_text'], case['loss_img_txt_level']) < limits['losses_rel']
    assert rel(losses['loss_region_distill'], case['loss_region_distill']) < limits['losses_rel']
    if name == 'f_pretrain_samepool':  # one label only: nothing to contrast
        assert float(losses['loss_region_contrast'].detach()) == pytest.approx(0, abs=1e-5)
    else:
        expected = case['loss_concept_contrastive']
        assert rel(losses['loss_region_contrast'], expected) < limits['losses_rel']
    assert_gradients(model, case)
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is None for p in model.text_encoder.parameters())


def assert_gradients(model: torch.nn.Module, case: GoldenCase) -> None:
    """Gradient norms and first values of every recorded parameter."""
    limit = case.meta['thresholds']['grad_norm_rel']
    params = dict(model.named_parameters())
    recorded = [k for k in case.arrays.files if k.startswith('grad_norm:')]
    assert recorded
    for key in recorded:
        official = key.split(':')[1]
        grad = params[rename_official_key(official)].grad
        assert rel(grad.norm(), case[key]) < limit, official
        first = grad.flatten()[:64]
        expected = case[f'grad_first64:{official}']
        assert max_abs(first, expected) < 2e-3 * float(grad.abs().max()), official


def test_a_wrong_temperature_is_seen() -> None:
    inputs = GoldenCase('f_pretrain')
    model = build_model()
    configure(model, inputs, inputs)
    model.roi_head.loss_image_text.temperature = 0.02
    try:
        with torch.no_grad():
            losses = model.loss(inputs.batch(list(IMAGES)), make_samples(inputs))
    finally:
        model.roi_head.loss_image_text.temperature = 0.01
    assert rel(losses['loss_image_text'], inputs['loss_img_txt_level']) > 0.01
