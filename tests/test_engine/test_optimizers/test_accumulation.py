# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Two accumulated batches of one image against one batch of two: which losses do not mind."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from helpers import tiny_models

SIZE = (64, 80)
CAPTIONS = ('a cat on a mat', 'two red balls')
BOXES = [
    torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0], [2.0, 30.0, 30.0, 62.0]]),
    torch.tensor([[0.0, 0.0, 64.0, 60.0], [20.0, 10.0, 60.0, 50.0], [2.0, 2.0, 20.0, 30.0]]),
]
FEWER = [BOXES[0], BOXES[1][:1]]


def detector(**settings: object) -> nn.Module:
    return tiny_models.fill(MODELS.build(tiny_models.detector_config(**settings)), seed=1).train()


def pretrainer(*losses: str) -> nn.Module:
    """With some of ``distill``, ``contrast``, ``captions``; no region is below the threshold."""
    region_text_head = dict(concept_pool=tiny_models.vocabulary('abcdefgh'), concept_threshold=0.0)
    region_text_head.update(
        {f'loss_{name}': None for name in ('distill', 'contrast') if name not in losses}
    )
    roi_head = dict() if 'captions' in losses else dict(loss_image_text=None)
    if losses == ('captions',):
        roi_head.update(region_text_head=None)
    config = tiny_models.regionclip_config(
        region_text_head=region_text_head, roi_head=roi_head, localizer=None
    )
    model = tiny_models.fill(MODELS.build(config), seed=1).train()
    if model.teacher is not None:  # images and texts alone need none
        tiny_models.fill(model.teacher, seed=2)
    return model


def updates(model: nn.Module, boxes: list[Tensor] = BOXES) -> tuple[dict, dict]:
    """Change of every parameter by one update, at once and accumulated."""
    found = []
    for parts in ([[0, 1]], [[0], [1]]):
        trained = copy.deepcopy(model)
        wrapper = build_optim_wrapper(
            trained,
            dict(
                type='PerTensorClipOptimWrapper',
                optimizer=dict(type='SGD', lr=1.0),
                accumulative_counts=len(parts),
            ),
        )
        images = tiny_models.images(SIZE, SIZE)
        samples = tiny_models.samples(SIZE, SIZE, captions=CAPTIONS, proposals=boxes)
        for rows in parts:
            torch.manual_seed(0)
            losses = trained(images[rows], [samples[i] for i in rows], mode='loss')
            wrapper.update_params(trained.parse_losses(losses)[0])
        before = dict(model.named_parameters())
        found.append(
            {n: (p - before[n]).detach() for n, p in trained.named_parameters() if p.requires_grad}
        )
    return tuple(found)


def difference(model: nn.Module, boxes: list[Tensor] = BOXES) -> float:
    """Largest over the parameters, relative to the largest change of each."""
    at_once, accumulated = updates(model, boxes)
    scales = {n: float(change.abs().max()) for n, change in at_once.items()}
    assert sum(scale > 1e-5 for scale in scales.values()) > 15  # they do learn
    return max(
        float((accumulated[n] - change).abs().max()) / max(scales[n], 1e-5)
        for n, change in at_once.items()
    )


def loss_cls(background_weight: float, normalizer: str) -> dict:
    return dict(
        type='FocalScaledCrossEntropyLoss',
        gamma=0.0,
        background_weight=background_weight,
        normalizer=normalizer,
    )


class TestTheSame:
    def test_detection_with_as_many_regions_per_image(self) -> None:
        assert difference(detector()) < 1e-4

    def test_weighted_mean_of_as_many_backgrounds(self) -> None:
        """Two of the five regions of each image are its ground truth."""
        head = dict(loss_cls=loss_cls(0.8, 'weights'))
        boxes = [torch.tensor([[0.0, 0.0, 8.0, 8.0], [60.0, 40.0, 80.0, 64.0]])] * 2
        assert difference(detector(bbox_head=head), boxes) < 1e-4

    def test_distillation_of_as_many_regions(self) -> None:
        assert difference(pretrainer('distill')) < 1e-4


class TestNotTheSame:
    """Means over what differs between batches, and contrasts with what is in the batch."""

    def test_detection_with_fewer_regions_in_one_image(self) -> None:
        assert difference(detector(), FEWER) > 0.02

    def test_distillation_of_fewer_regions_in_one_image(self) -> None:
        assert difference(pretrainer('distill'), FEWER) > 0.02

    @pytest.mark.parametrize('loss', ['contrast', 'captions'])
    def test_contrast_with_the_batch(self, loss: str) -> None:
        model = pretrainer(loss)
        if loss == 'contrast':
            # spread the labels: in a random network all regions are alike
            label = model.roi_head.region_text_head.pseudo_label

            def labels_in_turn(teacher: Tensor) -> object:
                target = label(teacher)
                target.labels = torch.arange(len(target.labels)) % 5
                return target

            object.__setattr__(model.roi_head.region_text_head, 'pseudo_label', labels_in_turn)
        assert difference(model) > 0.02
