# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training steps and detections in mixed precision, against float32.

bfloat16 has 8 significant bits: one rounding is off by up to 0.2 %. The roundings of the tiny
models' few layers add up like a random walk, so that losses differ by about 1 % and the limit is 3.
float16 has 11 bits, but a narrow range: its losses are scaled, as in training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from helpers import tiny_models
from helpers.precision_models import FP16_ON_CPU, SIZES, detector, pretrainer, samples
from regionclip_mmdet.models import losses as loss_functions
from regionclip_mmdet.models.losses import cosine_logits, image_text_contrastive

LOSS_SCALE = 1024.0


def reduced_precision(
    dtype: torch.dtype | None = torch.bfloat16, device: torch.device | str = 'cpu'
) -> torch.autocast:
    """Autocast to a type; None: none."""
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None)


@pytest.fixture(params=['bfloat16', 'float16'])
def dtype(request: pytest.FixtureRequest, device: torch.device) -> torch.dtype:
    if device.type == 'cpu' and request.param == 'float16' and not FP16_ON_CPU:
        pytest.skip(f'torch {torch.__version__} has no float16 autocast on CPUs')
    return getattr(torch, request.param)


def training_step(
    model: nn.Module, dtype: torch.dtype | None, device: torch.device, **settings: object
) -> tuple[dict, dict]:
    """Losses and gradients."""
    model = copy.deepcopy(model).train()
    torch.manual_seed(0)
    batch = tiny_models.images(*SIZES).to(device)
    with reduced_precision(dtype, device):
        losses = model(batch, samples(device=device, **settings), mode='loss')
    total, _ = model.parse_losses(losses)
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    (total * scale).backward()
    gradients = {n: p.grad / scale for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('kind', ['detection', 'detection with masks', 'pretraining'])
def test_a_training_step_is_close_to_float32(
    kind: str, with_cp: bool, dtype: torch.dtype, device: torch.device
) -> None:
    masks = kind == 'detection with masks'
    model = (pretrainer() if kind == 'pretraining' else detector(with_mask=masks)).to(device)
    expected, gradients = training_step(model, None, device, with_masks=masks)
    model.backbone.with_cp = model.roi_head.region_encoder.with_cp = with_cp
    losses, reduced = training_step(model, dtype, device, with_masks=masks)
    names = [name for name in expected if name.startswith('loss')]
    assert len(names) == (2 if kind == 'detection' else 3)
    for name in names:
        assert losses[name].dtype == torch.float32, name
        assert expected[name] > 0.1, name
        torch.testing.assert_close(losses[name], expected[name], rtol=0.03, atol=0, msg=name)
        assert not torch.equal(losses[name], expected[name]), f'{name}: precision was not reduced'
    assert reduced.keys() == gradients.keys() and len(gradients) >= 20
    for name, gradient in gradients.items():
        assert reduced[name].dtype == torch.float32
        cosine = F.cosine_similarity(reduced[name].flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.99, (name, float(cosine))
        assert 0.9 < float(reduced[name].norm() / gradient.norm()) < 1.1, name


@pytest.mark.parametrize('follow_autocast', [False, True])
def test_a_step_on_the_localizers_proposals(
    follow_autocast: bool, dtype: torch.dtype, device: torch.device
) -> None:
    model = pretrainer(device, localizer=tiny_models.localizer(follow_autocast=follow_autocast))
    with reduced_precision(dtype, device):
        losses = model.loss(tiny_models.images(*SIZES).to(device), samples(None, device=device))
    assert sum(name.startswith('loss') for name in losses) == 3
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize(
    'rcnn',
    [
        dict(),
        dict(nms=dict(type='global_soft_nms')),
        dict(objectness='sigmoid', early_exit=2),
    ],
    ids=['hard NMS', 'soft NMS', 'objectness'],
)
@torch.no_grad()
def test_detections_are_float32_and_close(
    rcnn: dict, dtype: torch.dtype, device: torch.device
) -> None:
    model = detector(with_mask=True, rcnn=rcnn).eval().to(device)
    given = samples(device=device)
    for sample in given:
        sample.proposals.objectness_logits = torch.tensor([2.0, 1.0, -0.5], device=device)
    batch, found = tiny_models.images(*SIZES).to(device), []
    for precision in (None, dtype):
        with reduced_precision(precision, device):
            results = model.predict(batch, [sample.clone() for sample in given])
        found.append([sample.pred_instances for sample in results])
    for exact, reduced in zip(*found, strict=True):
        assert reduced.bboxes.dtype == reduced.scores.dtype == torch.float32
        sure = exact[exact.scores > 0.3]
        assert len(sure) > 0
        for box, score, label in zip(sure.bboxes, sure.scores, sure.labels, strict=True):
            same = reduced[reduced.labels == label]
            i = int((same.bboxes - box).abs().sum(1).argmin())
            torch.testing.assert_close(same.bboxes[i], box, rtol=0, atol=0.5)
            torch.testing.assert_close(same.scores[i], score, rtol=0, atol=0.1)


def embeddings(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(seed))


CONCEPTS = embeddings(7, seed=1)
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    'distillation': lambda x: loss_functions.RegionDistillationLoss()(
        x, CONCEPTS, cosine_logits(embeddings(5, seed=2), CONCEPTS, 0.01).softmax(1)
    ),
    'region contrast': lambda x: loss_functions.RegionTextContrastiveLoss()(
        x, CONCEPTS, torch.tensor([0, 3, 3, 1, 6])
    ),
    'image-text': lambda x: loss_functions.ImageTextContrastiveLoss()(x, CONCEPTS[:5].bfloat16()),
    'sigmoid': lambda x: loss_functions.ImageTextSigmoidLoss()(x, CONCEPTS[:5].bfloat16()),
    'focal-scaled': lambda x: loss_functions.FocalScaledCrossEntropyLoss()(
        cosine_logits(x, CONCEPTS, 0.01), torch.tensor([0, 3, 3, 1, 6])
    ),
}


@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_bfloat16_features_are_computed_in_float32(name: str) -> None:
    """The features are rounded, nothing after them: equal to float32 on the rounded features."""
    features = embeddings(5).bfloat16().requires_grad_()
    with reduced_precision():
        loss = LOSSES[name](features)
    loss.backward()
    rounded = features.detach().float().requires_grad_()
    expected = LOSSES[name](rounded)
    expected.backward()
    assert loss.dtype == torch.float32 and expected > 0.1
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(features.grad, rounded.grad.bfloat16())


def test_pairs_are_gathered_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass of the gathering sums over ranks."""
    seen = []
    monkeypatch.setattr(
        image_text_contrastive, 'gather_with_gradient', lambda x, sizes: seen.append(x.dtype) or x
    )
    loss_functions.ImageTextContrastiveLoss()(embeddings(5).bfloat16(), CONCEPTS[:5].bfloat16())
    assert seen == [torch.float32] * 2


def test_distillation_stays_finite_where_probabilities_underflow() -> None:
    """At temperature 0.01, cosines of 1 and -1 are e^200 apart: too far for a float32 softmax."""
    concepts = F.normalize(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    region = torch.tensor([[1.0, 0.0]])
    teacher = torch.tensor([[0.5, 0.5]])
    loss = loss_functions.RegionDistillationLoss()(region, concepts, teacher)
    assert float(loss) == pytest.approx(100 - math.log(2), rel=1e-6)


def test_vocabularies_are_embedded_in_float32() -> None:
    encoder = tiny_models.fill(MODELS.build(tiny_models.text_encoder()), seed=3)
    expected = encoder.encode_names(['cat', 'dog'], ['a {}'])
    with reduced_precision():
        found = encoder.encode_names(['cat', 'dog'], ['a {}'])
        assert not torch.equal(encoder(['a cat', 'a dog']), expected.matrix)
    assert torch.equal(found.matrix, expected.matrix)
