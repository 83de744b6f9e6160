# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image-text losses over two and three processes equal those over all pairs in one.

Run as a script, this file is one of the processes.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.gloo_ranks import main, run_ranks

# pairs of each rank, by the number of ranks
SIZES = {2: (3, 1), 3: (3, 0, 2)}
# name -> (loss, settings, whether the texts are trained)
TASKS = {
    'all': ('contrastive', dict(temperature=0.1), True),
    'texts frozen': ('contrastive', dict(temperature=0.1), False),
    'sigmoid': ('sigmoid', dict(scale=3.0, bias=-1.0), True),
    'sigmoid, texts frozen': ('sigmoid', dict(scale=3.0, bias=-1.0), False),
    'sigmoid, not learned': ('sigmoid', dict(scale=3.0, bias=-1.0, learnable=False), True),
}
MANY = 16  # pairs of each rank where memory is looked at


def towers() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(dict(image=nn.Linear(5, 4), text=nn.Linear(6, 4))).double()


def inputs(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(rows, n, dtype=torch.float64, generator=generator) for n in (5, 6))


def step(images: Tensor, texts: Tensor, task: str, **settings: object) -> dict[str, Tensor]:
    """Value and gradients of a loss."""
    from regionclip_mmdet.models.losses import ImageTextContrastiveLoss, ImageTextSigmoidLoss

    kinds = dict(contrastive=ImageTextContrastiveLoss, sigmoid=ImageTextSigmoidLoss)
    kind, given, train_text = TASKS[task]
    model = towers()
    model['text'].requires_grad_(train_text)
    criterion = kinds[kind](**{**given, **settings}).double()
    loss = criterion(model['image'](images), model['text'](texts))
    loss.backward()
    named = [*model.named_parameters(), *criterion.named_parameters()]
    return dict(value=loss.detach(), **{n: p.grad for n, p in named if p.grad is not None})


def whole(images: Tensor, texts: Tensor, task: str) -> dict[str, Tensor]:
    """The same by the plain formulas, in one process with all pairs."""
    kind, settings, train_text = TASKS[task]
    model = towers()
    model['text'].requires_grad_(train_text)
    embedded = model['image'](images), model['text'](texts)
    cosines = F.cosine_similarity(embedded[0][:, None], embedded[1][None], dim=-1)
    learned = {}
    if kind == 'contrastive':
        target = torch.arange(len(cosines))
        logits = cosines / settings['temperature']
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    else:
        # rounded to float32, as parameters are
        log_scale = torch.tensor(math.log(settings['scale'])).double().requires_grad_()
        bias = torch.tensor(settings['bias']).double().requires_grad_()
        if settings.get('learnable', True):
            learned = dict(log_scale=log_scale, bias=bias)
        probs = 1 / (1 + (-log_scale.exp() * cosines - bias).exp())
        is_pair = torch.eye(len(cosines), dtype=torch.bool)
        loss = -torch.where(is_pair, probs, 1 - probs).log().sum() / len(cosines)
    loss.backward()
    named = {**dict(model.named_parameters()), **learned}
    return dict(value=loss.detach(), **{n: p.grad for n, p in named.items() if p.grad is not None})


def largest_saved(kind: str) -> int:
    """Elements of the largest tensor that is kept for the backward pass."""
    from regionclip_mmdet.models import losses

    numbers = []

    def remember(x: Tensor) -> Tensor:
        numbers.append(x.numel())
        return x

    images, texts = torch.randn(2, MANY, 4).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda x: x):
        getattr(losses, kind)()(images, texts).backward()
    return max(numbers)


def work(rank: int) -> dict:
    """All tasks on this rank's pairs; gradients averaged as data parallelism does."""
    sizes = SIZES[dist.get_world_size()]
    rows = torch.arange(sum(sizes)).split(sizes)[rank]
    images, texts = (x[rows] for x in inputs(sum(sizes)))
    results = {}
    for task in TASKS:
        results[task] = found = step(images, texts, task)
        for key, value in found.items():
            if key != 'value':
                dist.all_reduce(value)
                value /= len(sizes)
    results['trimmed'] = step(images, texts, 'all', uneven='trim')
    results['alone'] = step(images, texts, 'all', gather=False)
    results['sigmoid alone'] = step(images, texts, 'sigmoid', gather=False)
    for kind in ('ImageTextContrastiveLoss', 'ImageTextSigmoidLoss'):
        results[f'largest saved by {kind}'] = largest_saved(kind)
    return results


@pytest.fixture(scope='module', params=[pytest.param(2, marks=pytest.mark.slow), 3])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(__file__, request.param, tmp_path_factory.mktemp('ranks'))


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize('task', TASKS)
def test_processes_equal_one(ranks: list[dict], task: str) -> None:
    expected = whole(*inputs(sum(SIZES[len(ranks)])), task)
    scalars = 2 if task in ('sigmoid', 'sigmoid, texts frozen') else 0
    assert len(expected) == (5 if TASKS[task][2] else 3) + scalars
    assert min(float(value.abs().max()) for value in expected.values()) > 1e-3
    for results in ranks:
        assert_same(results[task], expected)
        # to the last bit: what a run does must not depend on the rank that looks
        assert torch.equal(results[task]['value'], ranks[0][task]['value'])


@pytest.mark.parametrize('task', TASKS)
def test_one_process_alone(task: str) -> None:
    assert_same(step(*inputs(4), task), whole(*inputs(4), task))


@pytest.mark.parametrize(('alone', 'task'), [('alone', 'all'), ('sigmoid alone', 'sigmoid')])
def test_without_gathering_pairs_of_other_ranks_are_no_negatives(
    ranks: list[dict], alone: str, task: str
) -> None:
    """And no rank waits for another."""
    pairs = inputs(sum(SIZES[len(ranks)]))
    assert_same(ranks[0][alone], whole(*(x[:3] for x in pairs), task))
    assert abs(ranks[0][alone]['value'] - ranks[0][task]['value']) > 0.01


def test_memory_does_not_grow_with_the_square_of_the_pairs(ranks: list[dict]) -> None:
    """Rows and columns of a rank's own pairs are kept, and nothing larger."""
    for found in ranks:
        largest = found['largest saved by ImageTextContrastiveLoss']
        assert largest == MANY * MANY * len(ranks)
        # embeddings of 4, whatever the number of ranks
        assert found['largest saved by ImageTextSigmoidLoss'] == MANY * 4


def test_trimming_takes_as_many_pairs_of_each_rank_as_the_smallest_has(ranks: list[dict]) -> None:
    found = [results['trimmed'] for results in ranks]
    if 0 in SIZES[len(ranks)]:  # then no pair is left: a loss of 0, and gradients for all
        for one in found:
            assert len(one) == 5 and not any(value.any() for value in one.values())
        return
    expected = whole(*(x[[0, 3]] for x in inputs(4)), 'all')
    mean = {key: sum(one[key] for one in found) / len(found) for key in expected}
    assert_same(mean, expected)


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(ValueError, match="uneven must be one of .*'cut'"):
        step(*inputs(2), 'all', uneven='cut')


if __name__ == '__main__':
    main(work)
