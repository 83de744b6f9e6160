# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Data parallelism on two and three processes, against one process."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from helpers import tiny_models
from helpers.gloo_ranks import main, run_ranks

SIZE = (64, 80)
# images of each rank: uneven, as the last batches of an epoch may be
ROWS = {2: ([0, 1, 2, 3], [4, 5]), 3: ([0, 1, 2], [3, 4], [5])}
NUM_IMAGES = 6
CAPTIONS = [f'a photo of number {i}' for i in range(NUM_IMAGES)]


def build(kind: str) -> nn.Module:
    """A model with the weights it has on every rank."""
    torch.manual_seed(0)
    if kind == 'detection':
        return tiny_models.fill(MODELS.build(tiny_models.detector_config())).train()
    settings = dict(localizer=None)
    if kind == 'image_text':
        settings.update(roi_head=dict(region_text_head=None), teacher=None)
    elif kind == 'sigmoid':
        loss = dict(type='ImageTextSigmoidLoss')
        settings.update(roi_head=dict(region_text_head=None, loss_image_text=loss), teacher=None)
    elif kind == 'regions':
        settings.update(roi_head=dict(loss_image_text=None), text_encoder=None)
    model = tiny_models.fill(MODELS.build(tiny_models.regionclip_config(**settings)), seed=1)
    if model.teacher is not None:
        tiny_models.fill(model.teacher, seed=2)
    return model.train()


def batch(rows: list[int], empty: tuple[int, ...] = ()) -> tuple[Tensor, list]:
    """Some of the images; those in ``empty`` have no proposals and no ground truth."""
    images = tiny_models.images(*[SIZE] * NUM_IMAGES)
    generator = torch.Generator().manual_seed(7)
    boxes = []
    for i in range(NUM_IMAGES):
        corners = torch.rand(5, 2, generator=generator) * 30
        box = torch.cat([corners, corners + 10 + torch.rand(5, 2, generator=generator) * 20], 1)
        boxes.append(box[:0] if i in empty else box)
    samples = tiny_models.samples(*[SIZE] * NUM_IMAGES, captions=CAPTIONS, proposals=boxes)
    for i in empty:
        samples[i].gt_instances = samples[i].gt_instances[:0]
    return images[rows], [samples[i] for i in rows]


def step(model: nn.Module, rows: list[int], empty: tuple[int, ...] = ()) -> dict:
    """Losses and gradients of one step."""
    with mock.patch.object(torch, 'randperm', lambda n, **kw: torch.arange(n)):
        losses = model(*batch(rows, empty), mode='loss')
    sum(v for k, v in losses.items() if k.startswith('loss')).backward()
    inner = getattr(model, 'module', model)
    return dict(
        losses={k: v.detach() for k, v in losses.items()},
        gradients={n: p.grad for n, p in inner.named_parameters() if p.grad is not None},
    )


# name -> (model, images that have nothing in them)
TASKS = {
    'image_text': ('image_text', ()),
    'sigmoid': ('sigmoid', ()),
    'regions': ('regions', ()),
    'regions, a rank without': ('regions', (4, 5)),
    'everything': ('everything', ()),
    'detection, a rank without objects': ('detection', (4, 5)),
}


def work(rank: int) -> dict:
    """All tasks on this rank's images; the model is wrapped without find_unused_parameters."""
    world_size = torch.distributed.get_world_size()
    found = {}
    for name, (kind, empty) in TASKS.items():
        model = DistributedDataParallel(build(kind))
        before = {k: v.clone() for k, v in model.module.named_buffers()}
        # the second step would fail if a parameter of the first had been left out
        step(model, ROWS[world_size][rank], empty)
        model.zero_grad()
        found[name] = step(model, ROWS[world_size][rank], empty)
        for key, value in model.module.named_buffers():
            assert torch.equal(value, before[key]), key
    return found


@pytest.fixture(scope='module', params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(__file__, request.param, tmp_path_factory.mktemp('ranks'))


def assert_equal_gradients(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-3
    for name, gradient in expected.items():
        limit = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(actual[name], gradient, rtol=1e-3, atol=limit, msg=name)


@pytest.mark.parametrize('kind', ['image_text', 'sigmoid'])
def test_image_text_loss_is_that_of_one_process_with_the_whole_batch(
    ranks: list[dict], kind: str
) -> None:
    expected = step(build(kind), list(range(NUM_IMAGES)))
    scalars = {'roi_head.loss_image_text.log_scale', 'roi_head.loss_image_text.bias'}
    assert (scalars <= expected['gradients'].keys()) == (kind == 'sigmoid')
    for found in ranks:
        loss = found[kind]['losses']['loss_image_text']
        torch.testing.assert_close(loss, expected['losses']['loss_image_text'])
        assert_equal_gradients(found[kind]['gradients'], expected['gradients'])


@pytest.mark.parametrize('task', ['regions', 'regions, a rank without'])
def test_region_losses_are_the_mean_over_ranks(ranks: list[dict], task: str) -> None:
    kind, empty = TASKS[task]
    alone = [step(build(kind), rows, empty) for rows in ROWS[len(ranks)]]
    names = {name for one in alone for name in one['gradients']}
    mean = {
        name: sum(one['gradients'].get(name, torch.zeros(())) for one in alone) / len(alone)
        for name in names
    }
    for found, one in zip(ranks, alone, strict=True):
        for key, value in one['losses'].items():
            torch.testing.assert_close(found[task]['losses'][key], value, rtol=1e-4, atol=1e-5)
        assert_equal_gradients(found[task]['gradients'], mean)


@pytest.mark.parametrize('task', ['everything', 'detection, a rank without objects'])
def test_all_ranks_learn_the_same(ranks: list[dict], task: str) -> None:
    first = ranks[0][task]['gradients']
    learned = {n for n, p in build(TASKS[task][0]).named_parameters() if p.requires_grad}
    assert first.keys() == learned
    for other in ranks[1:]:
        for name, gradient in first.items():
            assert torch.equal(gradient, other[task]['gradients'][name]), name


if __name__ == '__main__':
    main(work)
