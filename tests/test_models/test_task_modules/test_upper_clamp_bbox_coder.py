# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Boxes grow at most 62.5 times and shrink without limit, as in the official code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

from regionclip_mmdet import config_path

STDS = (0.1, 0.1, 0.2, 0.2)


def build(kind: str) -> object:
    return TASK_UTILS.build(
        dict(type=kind, target_means=(0.0,) * 4, target_stds=STDS, clip_border=False)
    )


def decode(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """The official formula, with weights (10, 10, 5, 5)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = boxes[:, :2] + sides / 2 + deltas[:, :2] / 10 * sides
    new = sides * np.exp(np.minimum(deltas[:, 2:] / 5, np.log(1000 / 16)))
    return np.concatenate([centers - new / 2, centers + new / 2], 1)


def test_values() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 50, (40, 4))
    boxes[:, 2:] += boxes[:, :2] + 1
    deltas = rng.normal(0, 1, (40, 4))
    deltas[:10, 2:] *= 30  # far beyond log(62.5), both ways
    expected = decode(boxes, deltas)
    found = build('UpperClampBBoxCoder').decode(torch.tensor(boxes), torch.tensor(deltas))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)
    # mmdet's own differs in boxes that shrink too far, and only there
    stock = build('DeltaXYWHBBoxCoder').decode(torch.tensor(boxes), torch.tensor(deltas)).numpy()
    differs = np.abs(stock - expected).max(1) > 1e-6
    assert 2 < differs.sum() < 10
    assert (deltas[differs, 2:].min(1) / 5 < -np.log(1000 / 16)).all()


def test_classes_and_batches() -> None:
    coder = build('UpperClampBBoxCoder')
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 4.0, 10.0, 12.0]])
    deltas = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)) * 20
    found = coder.decode(boxes, deltas).view(2, 2, 4)
    for k in range(2):
        assert torch.equal(found[:, k], coder.decode(boxes, deltas.view(2, 2, 4)[:, k]))
    batched = coder.decode(boxes[None], deltas[None, :, :4])
    assert torch.equal(batched[0], coder.decode(boxes, deltas[:, :4]))


@pytest.mark.parametrize('kind', ['c4', 'fpn', 'fpn_lsj'])
def test_official_localizers_and_heads_use_it(kind: str) -> None:
    localizer = Config.fromfile(config_path(f'_base_/localizers/rpn_r50_{kind}.py')).localizer
    assert localizer.rpn_head.bbox_coder.type == 'UpperClampBBoxCoder'
    head = MODELS.build(dict(type='TextEmbeddingBBoxHead', embed_dim=8))
    assert type(head.bbox_coder).__name__ == 'UpperClampBBoxCoder'
