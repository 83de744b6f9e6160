# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Training on shards: broken off within a pass, every pair still comes once; two processes."""

from __future__ import annotations

import itertools
import os
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import regionclip_mmdet  # noqa: F401
from helpers import generated_shards as made
from helpers import gloo_ranks, shards_training
from helpers.tool_processes import start
from regionclip_mmdet.datasets import ImageTextShards, ShardSampler

SIZES = [5, 3, 8, 4, 7]  # 27 pairs
TOOLS = Path(__file__).parents[2] / 'tools' / 'data'
_names = itertools.count()


def train(folder: Path, data: Path, resume: int | None = None, **sampler: Any) -> None:
    """Two passes of nine batches of three."""
    settings = shards_training.config(
        data,
        max_iters=18,
        batch_size=3,
        work_dir=str(folder),
        experiment_name=f'shards_{next(_names)}',
        load_from=None if resume is None else str(folder / f'iter_{resume}.pth'),
        resume=resume is not None,
    )
    settings['train_dataloader']['sampler'].update(sampler)
    Runner.from_cfg(Config(settings)).train()


def all_keys() -> set[str]:
    shards = [shard for shard, size in enumerate(SIZES) for _ in range(size)]
    return {f'{shard:05d}.tar/{number:09d}' for number, shard in enumerate(shards)}


def test_a_run_that_goes_on_within_a_pass(tmp_path: Path) -> None:
    data = made.write_shards(tmp_path / 'data', SIZES)
    train(tmp_path / 'run', data)
    straight = shards_training.keys_seen(tmp_path / 'run')
    for first in (0, 9):
        seen = [key for i in range(first, first + 9) for key in straight[i]]
        assert len(seen) == 27 and set(seen) == all_keys()
    assert [straight[i] for i in range(9)] != [straight[i] for i in range(9, 18)]
    (tmp_path / 'run' / 'keys_0.jsonl').unlink()
    train(tmp_path / 'run', data, resume=12)
    resumed = shards_training.keys_seen(tmp_path / 'run')
    assert resumed == {i: straight[i] for i in range(12, 18)}
    with pytest.raises(RuntimeError, match='settings of the sampler: .*buffer_shards'):
        train(tmp_path / 'run', data, resume=12, buffer_shards=3)
    made.write_shards(data, [4, 4, 8, 4, 7])  # as many pairs, differently spread
    with pytest.raises(RuntimeError, match='settings of the sampler: .*checksum_of_sizes'):
        train(tmp_path / 'run', data, resume=12)


@pytest.mark.parametrize(
    'loop',
    [
        dict(type='IterBasedTrainLoop', max_iters=18, val_interval=100),
        dict(type='EpochBasedTrainLoop', max_epochs=2),
    ],
)
def test_loops_of_mmengine(tmp_path: Path, loop: dict) -> None:
    """Without our loops, too, each pair comes once in a pass, and passes differ."""
    data = made.write_shards(tmp_path / 'data', SIZES)
    settings = shards_training.config(
        data,
        max_iters=18,
        batch_size=3,
        work_dir=str(tmp_path / 'run'),
        experiment_name=f'shards_{next(_names)}',
        train_cfg=loop,
    )
    Runner.from_cfg(Config(settings)).train()
    seen = shards_training.keys_seen(tmp_path / 'run')
    keys = [key for i in range(18) for key in seen[i]]
    assert set(keys[:27]) == set(keys[27:]) == all_keys() and len(keys) == 54
    assert keys[:27] != keys[27:]


def test_the_log_tells_how_many_were_skipped(tmp_path: Path) -> None:
    data = made.write_shards(tmp_path / 'data', [6])
    members = [member for number in range(6, 9) for member in made.pair(number)]
    members[3] = (members[3][0], members[3][1][:40])
    made.write_tar(data / '00001.tar', members)
    settings = shards_training.config(
        data,
        max_iters=6,
        batch_size=3,
        work_dir=str(tmp_path / 'run'),
        experiment_name=f'shards_{next(_names)}',
        custom_hooks=[dict(type='BrokenImagesHook', interval=2)],
    )
    settings['train_dataloader']['dataset']['max_broken_share'] = 1.0
    settings['default_hooks']['logger'] = dict(type='LoggerHook', interval=2)
    runner = Runner.from_cfg(Config(settings))
    runner.train()
    values = runner.message_hub.get_scalar('train/images_skipped').data[0].tolist()
    assert len(values) == 3 and values == sorted(values)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert log.read_text().count('images_skipped: ') == 3
    told = 'for which others were trained, of all processes: 00001.tar/000000007.'
    assert log.read_text().count(told) == 1
    # the broken one comes once in each pass of three batches, or more often in place of itself
    assert runner.train_dataloader.dataset.num_broken >= values[-1] >= 2


def damaged_shards(folder: Path) -> set[str]:
    """Ten shards of eight pairs, four of them broken, one shard cut; returns the sound keys."""
    made.write_shards(folder, [8] * 10)
    for shard, broken in ((2, [17, 22]), (7, [56, 60])):
        members = []
        for number in range(8 * shard, 8 * shard + 8):
            image, text, facts = made.pair(number)
            if number in broken[:1]:
                text = (text[0], b'')
            elif number in broken:
                image = (image[0], image[1][:40])
            members += [image, text, facts]
        made.write_tar(folder / f'{shard:05d}.tar', members)
    os.truncate(folder / '00004.tar', 512 * 6 * 5 + 540)  # in the sixth of its pairs
    lost = {17, 22, 56, 60, 37, 38, 39}
    return {f'{n // 8:05d}.tar/{n:09d}' for n in range(80) if n not in lost}


@pytest.mark.slow
def test_one_of_two_processes_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Broken pairs are named; of the others each comes once a pass, across the break, too."""
    sound = damaged_shards(tmp_path / 'data')
    shards, listed = f'{tmp_path}/data/*.tar', f'{tmp_path}/data/broken.tsv'
    monkeypatch.setattr(sys, 'argv', ['inspect_image_text', shards, '--broken', listed])
    runpy.run_path(str(TOOLS / 'inspect_image_text.py'), run_name='__main__')
    told = capsys.readouterr().out
    for name in ('00002.tar/000000017: empty', '00002.tar/000000022', '00007.tar/000000060'):
        assert f'{tmp_path}/data/{name}' in told
    assert f'{tmp_path}/data/00004.tar: truncated in 000000037.png' in told

    # 73 pairs: 37 for each of both processes, one comes twice; ten batches of four a pass
    settings = shards_training.config(tmp_path / 'data', max_iters=20, batch_size=4)
    settings['train_dataloader']['dataset']['exclude'] = 'broken.tsv'
    Config(settings).dump(tmp_path / 'whole.py')
    settings['custom_hooks'] += [dict(type='KillHook', iteration=15, rank=1)]
    Config(settings).dump(tmp_path / 'killed.py')
    folder = tmp_path / 'run'
    code, output = start(tmp_path / 'killed.py', folder, 2)
    assert code != 0 and '00002.tar/000000017: empty caption' in output
    code, output = start(tmp_path / 'whole.py', folder, 2, '--resume')
    assert code == 0, output[-3000:]
    assert 'Resuming at iteration 12' in output
    seen = [shards_training.keys_seen(folder, rank) for rank in range(2)]
    for first in (0, 10):
        counts = Counter(k for part in seen for i in range(first, first + 10) for k in part[i])
        assert set(counts) == sound and counts.total() == 74
    assert len(sound) == 73


def work(rank: int) -> dict:
    """One of two processes, which index the shards at the same time."""
    init_default_scope('mmdet')
    data = Path(sys.argv[3]) / 'data'
    pipeline = shards_training.PIPELINE
    dataset = ImageTextShards('*.tar', data_root=str(data), pipeline=pipeline)
    found = {}
    for tail in ('pad', 'drop'):
        sampler = ShardSampler(dataset, buffer_shards=2, tail=tail)  # one seed, drawn together
        assert (sampler.rank, sampler.world_size) == (rank, 2)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=4, sampler=sampler, num_workers=1, collate_fn=list
        )
        found[tail] = [s['data_samples'].img_id for batch in loader for s in batch]
    return found


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    made.write_shards(tmp_path / 'data', SIZES)
    results = gloo_ranks.run_ranks(__file__, 2, tmp_path)
    padded = Counter(key for result in results for key in result['pad'])
    assert set(padded) == all_keys() and padded.total() == 28
    assert [len(result['pad']) for result in results] == [14, 14]
    dropped = [key for result in results for key in result['drop']]
    assert len(dropped) == len(set(dropped)) == 26 and set(dropped) < all_keys()
    assert len(list((tmp_path / 'data').glob('*.index.npz'))) == len(SIZES)
    assert not list((tmp_path / 'data').glob('*.being-written'))


if __name__ == '__main__':
    gloo_ranks.main(work)
