# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The order of samples in shards: nothing twice, nothing lost, few shards at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from torch.utils.data import BatchSampler, DataLoader

from helpers import generated_shards as made
from regionclip_mmdet.datasets import ImageTextDataset, ImageTextShards, ShardSampler
from regionclip_mmdet.datasets.shards import shard_sampler
from regionclip_mmdet.engine.loops import ResumableLoader

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'text')),
]
SIZES = [7, 3, 0, 12, 5, 1, 9, 10, 6]
NUMBERS = list(range(sum(SIZES)))  # 53


class Sized:
    shard_starts = np.cumsum([0, *SIZES])

    def __len__(self) -> int:
        return len(NUMBERS)


@pytest.fixture()
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(rank: int, world_size: int, dataset: Any = None, **options: Any) -> ShardSampler:
        monkeypatch.setattr(shard_sampler, 'get_dist_info', lambda: (rank, world_size))
        options = dict(seed=3, buffer_shards=2) | options
        return ShardSampler(Sized() if dataset is None else dataset, **options)

    return make


@pytest.mark.parametrize('world_size', [1, 2, 3, 4, 53, 60])
@pytest.mark.parametrize('shuffle', [True, False])
def test_padding_repeats_the_first(as_rank: Any, world_size: int, shuffle: bool) -> None:
    samplers = [as_rank(rank, world_size, shuffle=shuffle) for rank in range(world_size)]
    parts = [list(sampler) for sampler in samplers]
    assert {len(part) for part in parts} == {len(samplers[0])} == {-(-53 // world_size)}
    counts = Counter(n for part in parts for n in part)
    extra = world_size * len(samplers[0]) - 53
    assert set(counts) == set(NUMBERS) and counts.total() == 53 + extra
    order = list(samplers[0].order())
    again = {number for number, count in counts.items() if count == 2}
    assert again == set(order[:extra])
    assert [parts[i % world_size][i // world_size] for i in range(53)] == order
    assert (order == NUMBERS) != shuffle


@pytest.mark.parametrize('world_size', [1, 2, 3, 4, 53])
def test_dropping_leaves_out_others_in_each_pass(as_rank: Any, world_size: int) -> None:
    left_out = []
    for epoch in range(8):
        parts = []
        for rank in range(world_size):
            sampler = as_rank(rank, world_size, tail='drop')
            sampler.set_epoch(epoch)
            parts.append(list(sampler))
        assert {len(part) for part in parts} == {len(sampler)} == {53 // world_size}
        seen = [n for part in parts for n in part]
        assert len(set(seen)) == len(seen)
        left_out.append(frozenset(NUMBERS) - set(seen))
    assert {len(numbers) for numbers in left_out} == {53 % world_size}
    if 53 % world_size:
        assert len(set(left_out)) > 1


def test_few_shards_at_a_time(as_rank: Any) -> None:
    shard_of = np.repeat(np.arange(len(SIZES)), SIZES)
    for buffer_shards in (1, 2, 4):
        shards = shard_of[list(as_rank(0, 1, buffer_shards=buffer_shards).order())]
        groups, spans = [], {s: np.flatnonzero(shards == s) for s in set(shards.tolist())}
        for position in range(53):
            groups.append([s for s, span in spans.items() if span[0] <= position <= span[-1]])
        assert max(map(len, groups)) <= buffer_shards
        # mixed, not one after the other
        assert max(map(len, groups)) == buffer_shards


def test_orders_differ_by_seed_and_pass_alone(as_rank: Any) -> None:
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = as_rank(0, 1, seed=seed)
            sampler.set_epoch(epoch)
            orders[seed, epoch] = tuple(sampler)
            assert tuple(sampler) == tuple(sampler)
    assert len(set(orders.values())) == 4


def test_shuffling_reaches_every_place(as_rank: Any) -> None:
    """Over many passes each sample comes everywhere about equally often."""
    sampler = as_rank(0, 1, buffer_shards=3)
    positions = np.zeros((300, 53))
    for epoch in range(300):
        sampler.set_epoch(epoch)
        positions[epoch, list(sampler)] = np.arange(53)
    # mean 26 and standard deviation 15.3 of a uniform place; 300 passes, 6 sigma
    assert np.abs(positions.mean(0) - 26).max() < 6 * 15.3 / 300**0.5


def test_refusals(as_rank: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'pad' or 'drop'"):
        as_rank(0, 1, tail='keep')
    with pytest.raises(ValueError, match='buffer_shards must be positive'):
        as_rank(0, 1, buffer_shards=0)
    with pytest.raises(ValueError, match='53 samples cannot be shared by 54'):
        as_rank(0, 54, tail='drop')
    (tmp_path / 'c.jsonl').write_text('{"image": "a.jpg", "caption": "b"}')
    with pytest.raises(TypeError, match='ImageTextDataset does not come in whole shards'):
        as_rank(0, 1, ImageTextDataset('c.jsonl', data_root=str(tmp_path)))
    dataset = ImageTextShards('*.tar', data_root=str(made.write_shards(tmp_path, [3, 3])))
    lazy = ImageTextShards('*.tar', data_root=str(tmp_path), lazy_init=True)
    assert len(as_rank(0, 1, lazy)) == 6
    with pytest.raises(TypeError, match='without subsets'):
        as_rank(0, 1, dataset.get_subset(4))


def test_several_datasets(as_rank: Any, tmp_path: Path) -> None:
    parts = [
        ImageTextShards('*.tar', data_root=str(made.write_shards(tmp_path / name, sizes)))
        for name, sizes in (('a', [3, 2]), ('b', [4]))
    ]
    sampler = as_rank(0, 1, ConcatDataset(parts), buffer_shards=1)
    assert sampler.starts.tolist() == [0, 3, 5, 9]
    order = list(sampler)
    assert sorted(order) == list(range(9)) and order != list(range(9))


def loader(dataset: Any, sampler: ShardSampler, workers: int) -> ResumableLoader:
    batches = BatchSampler(sampler, batch_size=4, drop_last=False)
    return ResumableLoader(
        DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=list)
    )


def keys(batches: Any) -> list[list[str]]:
    return [[sample['data_samples'].img_id for sample in batch] for batch in batches]


@pytest.mark.parametrize('workers', [0, 2])
def test_each_key_once_over_ranks_and_workers_and_a_break(
    as_rank: Any, tmp_path: Path, workers: int
) -> None:
    """Three ranks, two passes; each breaks off within the second one and goes on in new loaders."""
    folder = made.write_shards(tmp_path, [size for size in SIZES if size])
    expected = {f'{Path(s).name}/{n:09d}' for s, n in _all_keys(folder)}
    assert len(expected) == 53
    seen: dict[int, list[str]] = {0: [], 1: []}
    for rank in range(3):
        dataset = ImageTextShards('*.tar', data_root=str(folder), pipeline=PIPELINE)
        sampler = as_rank(rank, 3, dataset)
        whole = loader(dataset, sampler, 0)
        straight = {epoch: keys(whole.batches(7, epoch, 0, False)) for epoch in (0, 1)}
        first = loader(dataset, as_rank(rank, 3, dataset), workers)
        assert keys(first.batches(7, 0, 0, False)) == straight[0]
        stream = iter(first.batches(7, 1, 0, False))
        before = keys(next(stream) for _ in range(2))
        first.close()
        again = ImageTextShards('*.tar', data_root=str(folder), pipeline=PIPELINE)
        after = keys(loader(again, as_rank(rank, 3, again), workers).batches(7, 1, 2, False))
        assert before + after == straight[1]
        for epoch, batches in ((0, straight[0]), (1, before + after)):
            seen[epoch] += [key for batch in batches for key in batch]
    for part in seen.values():
        counts = Counter(part)
        assert set(counts) == expected and counts.total() == 54  # one is padding
    assert seen[0] != seen[1]


def _all_keys(folder: Path) -> list[tuple[str, int]]:
    first, found = 0, []
    for shard, size in enumerate(size for size in SIZES if size):
        found += [(f'{shard:05d}.tar', first + i) for i in range(size)]
        first += size
    return found


def test_going_on_with_another_number_of_processes(as_rank: Any) -> None:
    """After 24 samples by four processes two go on with exactly the other ones."""
    before = [n for rank in range(4) for n in list(as_rank(rank, 4))[:6]]
    after = [n for rank in range(2) for n in list(as_rank(rank, 2))[12:]]
    assert len(set(before)) == 24 and set(before) | set(after) == set(NUMBERS)
    assert not set(before) & set(after[:-1]) and len(after) == 30  # one is padding


def test_resuming_reads_nothing_again(
    as_rank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ImageTextShards(
        '*.tar', data_root=str(made.write_shards(tmp_path, [10, 10])), pipeline=PIPELINE
    )
    asked: list[int] = []
    original = ImageTextShards.image_bytes
    monkeypatch.setattr(
        ImageTextShards,
        'image_bytes',
        lambda self, idx: asked.append(idx) or original(self, idx),
    )
    batches = keys(loader(dataset, as_rank(0, 1, dataset), 0).batches(0, 0, 3, False))
    assert len(batches) == 2 and len(asked) == 8
    assert torch.equal(torch.tensor(asked), torch.tensor(list(as_rank(0, 1, dataset))[12:]))
