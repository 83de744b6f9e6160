# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Regions and whole images through one encoder, each to its own loss."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.losses import ImageTextContrastiveLoss
from regionclip_mmdet.models.roi_heads import RegionTextRoIHead

SIZES = ((64, 96), (80, 64))
METAS = [dict(img_shape=size) for size in SIZES]
PADDED = (80, 96)
ROIS = torch.tensor([[0.0, 4, 4, 60, 50], [1.0, 10, 0, 50, 70], [1.0, 0, 0, 30, 30]])


def head(**settings: object) -> RegionTextRoIHead:
    config = dict(
        type='RegionTextRoIHead',
        region_encoder=tiny_models.encoder(),
        region_text_head=dict(type='RegionTextHead', concept_pool=tiny_models.vocabulary()),
    )
    return tiny_models.fill(MODELS.build({**config, **settings}))


def c4_map() -> tuple[Tensor]:
    return (torch.rand(2, 256, 5, 6, generator=torch.Generator().manual_seed(0)),)


def vectors(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(seed))


def test_global_box_is_the_image_or_the_padded_batch() -> None:
    image = head().global_rois(METAS, PADDED)
    assert image.tolist() == [[0, 0, 0, 96, 64], [1, 0, 0, 64, 80]]
    padded = head(global_box='padded').global_rois(METAS, PADDED)
    assert padded.tolist() == [[0, 0, 0, 96, 80], [1, 0, 0, 96, 80]]


def test_losses_of_regions_and_images() -> None:
    model, feats = head(), c4_map()
    teacher, texts = vectors(3, 1), vectors(2, 2)
    losses = model.loss(feats, ROIS, teacher, texts, METAS, PADDED)
    regions = model.region_encoder(feats, ROIS)
    whole = model.region_encoder(feats, model.global_rois(METAS, PADDED))
    expected = model.region_text_head.loss(regions, teacher)
    expected['loss_image_text'] = ImageTextContrastiveLoss()(whole, texts)
    assert losses.keys() == expected.keys() and len(losses) == 6
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value, rtol=1e-4, atol=1e-5)
    assert float(losses['loss_image_text'].detach()) > 0.01


def test_the_global_box_enters_the_loss() -> None:
    inputs = (c4_map(), ROIS, vectors(3, 1), vectors(2, 2), METAS, PADDED)
    image, padded = head().loss(*inputs), head(global_box='padded').loss(*inputs)
    torch.testing.assert_close(image['loss_region_distill'], padded['loss_region_distill'])
    assert abs(image['loss_image_text'] - padded['loss_image_text']) > 1e-3


def test_captions_alone_encode_no_region() -> None:
    model = head(region_text_head=None)
    seen: list[Tensor] = []
    model.region_encoder.register_forward_hook(lambda m, args, out: seen.append(args[1]))
    losses = model.loss(c4_map(), ROIS, None, vectors(2, 2), METAS, PADDED)
    assert set(losses) == {'loss_image_text'} and len(seen[0]) == 2


def test_regions_alone_encode_no_image() -> None:
    model = head(loss_image_text=None)
    seen: list[Tensor] = []
    model.region_encoder.register_forward_hook(lambda m, args, out: seen.append(args[1]))
    losses = model.loss(c4_map(), ROIS, vectors(3, 1), None, METAS, PADDED)
    assert 'loss_image_text' not in losses and 'loss_region_distill' in losses
    assert torch.equal(seen[0], ROIS)


def test_errors() -> None:
    with pytest.raises(ValueError, match="global_box must be one of .*'padded'.*, not 'x'"):
        head(global_box='x')
    with pytest.raises(ValueError, match='Nothing to learn'):
        head(region_text_head=None, loss_image_text=None)
