# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The image-text loss over two processes equals the loss over all pairs in one.

Run as a script, this file is one of the processes.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from gloo_ranks import main, run_ranks
from torch import Tensor, nn

SIZES = (3, 1)  # pairs of each rank


def towers() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(dict(image=nn.Linear(5, 4), text=nn.Linear(6, 4))).double()


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = sum(SIZES)
    return tuple(torch.randn(rows, n, dtype=torch.float64, generator=generator) for n in (5, 6))


def step(
    images: Tensor, texts: Tensor, train_text: bool, **settings: str
) -> tuple[Tensor, nn.ModuleDict]:
    from regionclip_mmdet.models.losses import ImageTextContrastiveLoss

    model = towers()
    model['text'].requires_grad_(train_text)
    loss = ImageTextContrastiveLoss(0.1, **settings)(model['image'](images), model['text'](texts))
    loss.backward()
    return loss.detach(), model


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def work(rank: int) -> dict:
    """Both steps on this rank's pairs; gradients averaged as data parallelism does."""
    rows = torch.arange(sum(SIZES)).split(SIZES)[rank]
    images, texts = inputs()
    results = {}
    for train_text in (True, False):
        loss, model = step(images[rows], texts[rows], train_text)
        for gradient in gradients(model):
            dist.all_reduce(gradient)
            gradient /= len(SIZES)
        results[str(train_text)] = [loss, *gradients(model)]
    trimmed, model = step(images[rows], texts[rows], True, uneven='trim')
    results['trimmed'] = [trimmed, *gradients(model)]
    return results


@pytest.fixture(scope='module')
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(__file__, len(SIZES), tmp_path_factory.mktemp('ranks'))


@pytest.mark.parametrize('train_text', [True, False])
def test_two_processes_equal_one(ranks: list[dict], train_text: bool) -> None:
    loss, model = step(*inputs(), train_text)
    expected = [loss, *gradients(model)]
    assert len(expected) == (5 if train_text else 3)
    assert min(float(value.abs().max()) for value in expected) > 1e-3
    for results in ranks:
        for actual, wanted in zip(results[str(train_text)], expected, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-10, atol=1e-12)


def test_without_gathering_pairs_of_other_ranks_are_no_negatives() -> None:
    """What the test above would see if ranks did not exchange their embeddings."""
    images, texts = inputs()
    alone, _ = step(images[:3], texts[:3], True)
    together, _ = step(images, texts, True)
    assert abs(alone - together) > 0.01


def test_trimming_takes_as_many_pairs_of_each_rank_as_the_smallest_has(ranks: list[dict]) -> None:
    images, texts = inputs()
    loss, model = step(images[[0, 3]], texts[[0, 3]], True)
    expected = [loss, *gradients(model)]
    for actual in zip(*(found['trimmed'] for found in ranks)):
        wanted = expected.pop(0)
        # a rank's own gradients are of its own pair, summed over the ranks' equal losses
        together = actual[0] if wanted.ndim == 0 else sum(actual) / len(SIZES)
        torch.testing.assert_close(together, wanted, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="uneven must be one of .*'cut'"):
        step(images, texts, True, uneven='cut')


if __name__ == '__main__':
    main(work)
