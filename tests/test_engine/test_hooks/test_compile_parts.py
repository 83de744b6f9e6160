# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Compiled parts compute the same, with any size, and stay the parts they were."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.utils import digit_version
from torch import Tensor, nn

from helpers import tiny_models
from regionclip_mmdet.engine.hooks import CompilePartsHook
from regionclip_mmdet.engine.hooks.compile_parts import PARTS

# captures and differentiates graphs as the default does, and generates no code
OPTIONS = dict(backend='aot_eager')
BATCHES = [((64, 80), 2), ((64, 96), 3), ((80, 64), 4)]  # size of the images, regions of each


def pretrainer() -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(tiny_models.regionclip_config(localizer=None))
    for part in (model.backbone, model.teacher.backbone, model.text_encoder):
        tiny_models.fill(part, seed=1)
    tiny_models.fill(model.roi_head.region_encoder, seed=2)
    tiny_models.fill(model.teacher.region_encoder, seed=3)
    return model.train()


def compiled(model: nn.Module, **settings: object) -> nn.Module:
    CompilePartsHook(**settings).before_train(SimpleNamespace(model=model))
    return model


def step(model: nn.Module, size: tuple[int, int], regions: int) -> dict[str, Tensor]:
    """Losses and gradients."""
    generator = torch.Generator().manual_seed(regions)
    corners = torch.rand(2, regions, 2, generator=generator) * 30
    boxes = torch.cat([corners, corners + 20], -1)
    samples = tiny_models.samples(size, size, captions=('a cat', 'a dog'), proposals=list(boxes))
    model.zero_grad()
    torch.manual_seed(0)
    losses = model.loss(tiny_models.images(size, size), samples)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {**{k: v.detach() for k, v in losses.items()}, **gradients}


def assert_same_steps(model: nn.Module, batches: list[tuple]) -> None:
    plain = pretrainer()
    for size, regions in batches:
        expected, found = step(plain, size, regions), step(model, size, regions)
        assert found.keys() == expected.keys() and expected['loss_region_distill'] > 1e-3
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_the_attention_pool_with_several_numbers_of_regions() -> None:
    counters = torch._dynamo.utils.counters
    counters.clear()
    parts = ['roi_head.region_encoder.attnpool']
    assert_same_steps(compiled(pretrainer(), parts=parts, options=OPTIONS), BATCHES)
    assert counters['stats']['unique_graphs'] > 0 and not counters['graph_break']


@pytest.mark.slow
@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.2'),
    reason='the compiler of torch 2.1 fails on the backbone',
)
def test_all_parts_with_several_sizes() -> None:
    counters = torch._dynamo.utils.counters
    counters.clear()
    model = compiled(pretrainer(), options=OPTIONS)
    assert model.state_dict().keys() == pretrainer().state_dict().keys()
    assert_same_steps(model, BATCHES)
    assert counters['stats']['unique_graphs'] >= len(PARTS) and not counters['graph_break']


def test_parts_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="RegionCLIP has no part 'roi_head.mask_head'"):
        compiled(pretrainer(), parts=['roi_head.mask_head'])
