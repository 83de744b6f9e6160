# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Repeat factors: LVIS' formula, met on average, in passes of one length."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import ClassBalancedDataset

from regionclip_mmdet.datasets.repeat_factor_sampler import RepeatFactorSampler, repeat_factors


class Labeled:
    """Images with given labels."""

    def __init__(self, labels: list[list[int]]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def get_cat_ids(self, index: int) -> list[int]:
        return self.labels[index]


# Class 0 in 96 of 100 images, 1 in 4, 2 in 2, 3 in 1; one image without any.
LABELS = [[0, 0]] * 93 + [[0, 1], [0, 1], [0, 1, 2], [1], [2, 2], [3], []]
THRESHOLD = 0.09
ONE, TWO, THREE = 1.5, (0.09 / 0.02) ** 0.5, 3.0
FACTORS = [1.0] * 93 + [ONE, ONE, TWO, ONE, TWO, THREE, 1.0]


def test_factors() -> None:
    found = repeat_factors(Labeled(LABELS), THRESHOLD)
    assert found.tolist() == pytest.approx(FACTORS)
    # mmengine's own, which it then rounds up
    theirs = ClassBalancedDataset._get_repeat_factors
    holder = type('Holder', (), dict(dataset=Labeled(LABELS)))()
    assert found[:-1].tolist() == pytest.approx(theirs(holder, holder.dataset, THRESHOLD)[:-1])


def test_every_pass_is_as_long_and_factors_are_met_on_average() -> None:
    sampler = RepeatFactorSampler(Labeled(LABELS), THRESHOLD, seed=3)
    assert len(sampler) == int(sum(FACTORS))
    counts: Counter[int] = Counter()
    passes = 2000
    for epoch in range(passes):
        sampler.set_epoch(epoch)
        chosen = list(sampler)
        assert len(chosen) == len(sampler)
        once = Counter(chosen)
        # never further from a factor than to the next whole numbers, except for the one image that
        # a pass is cut by
        assert sum(abs(once[i] - factor) >= 1 for i, factor in enumerate(FACTORS)) <= 1
        counts.update(chosen)
    for index, factor in enumerate(FACTORS):
        assert counts[index] / passes == pytest.approx(factor, abs=0.05), index


def test_passes_are_shuffled_repeatable_and_different() -> None:
    sampler = RepeatFactorSampler(Labeled(LABELS), THRESHOLD, seed=3)
    first = list(sampler)
    assert first == list(sampler) and first != sorted(first)
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(RepeatFactorSampler(Labeled(LABELS), THRESHOLD, seed=4)) != first
    plain = list(RepeatFactorSampler(Labeled(LABELS), THRESHOLD, shuffle=False, seed=3))
    assert plain == sorted(first)


@pytest.mark.parametrize('processes', [2, 3, 7])
def test_processes_share_a_pass(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(RepeatFactorSampler(Labeled(LABELS), THRESHOLD, seed=3))
    shares = []
    for rank in range(processes):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, processes))
        shares.append(list(RepeatFactorSampler(Labeled(LABELS), THRESHOLD, seed=3)))
    assert len({len(share) for share in shares}) == 1
    together = [index for row in zip(*shares, strict=True) for index in row]
    # the first ones again, to make the shares equal
    assert together == whole + whole[: len(together) - len(whole)]


def test_built_from_a_config_and_checked() -> None:
    sampler = DATA_SAMPLERS.build(
        dict(type='RepeatFactorSampler', threshold=0.5, dataset=Labeled([[0], [1], [0]]), seed=0)
    )
    assert torch.allclose(sampler.factors, torch.tensor([1.0, 1.5**0.5, 1.0]).double())
    with pytest.raises(ValueError, match='threshold must be positive, not 0'):
        RepeatFactorSampler(Labeled(LABELS), 0)
