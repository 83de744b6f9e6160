# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The loader's benchmark: what counts, what is said, the tool."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from benchmarks import loading
from benchmarks.generated_pairs import natural_noise, write_generated_pairs
from benchmarks.loading import Loading, format_loading, loader_config
from regionclip_mmdet.config_paths import config_path
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.datasets.transforms.load_image import decode_rgb

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0.0
        monkeypatch.setattr(loading, 'now', lambda device='cpu': self.time)


def batches(clock: Clock) -> Iterator[dict]:
    """Of four; one takes half a second, the first ten."""
    for number in itertools.count():
        clock.time += 0.5 if number else 10
        yield dict(data_samples=[number] * 4)


@pytest.mark.parametrize('ahead', [0, 6])
def test_only_the_steady_state_counts(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    clock = Clock(monkeypatch)
    stream = batches(clock)
    assert loading.loading_rate(stream, ahead, 20) == 4 / 0.5
    assert next(stream)['data_samples'] == [21 + ahead] * 4


def test_waiting_and_steps_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen: list[int] = []

    def step(batch: dict) -> None:
        seen.append(batch['data_samples'][0])
        clock.time += 1.5 if len(seen) > 7 else 100  # slow until warm

    times = loading.waits_beside_steps(batches(clock), 6, step, steps=10)
    assert times == (1.5, 0.5) and seen == list(range(17))
    row = Loading(3, 8.0, *times, batch_size=4)
    assert row.waiting == 0.25


def test_what_the_table_says() -> None:
    alone = format_loading([Loading(0, 10.0), Loading(2, 15.0)])
    assert alone.splitlines()[2:4] == ['| 0 | 10 |', '| 2 | 15 |']
    assert alone.endswith('At most 15 samples/s, with 2 workers.')
    rows = [Loading(w, r, 0.5, x, 4) for w, r, x in ((1, 5.0, 0.5), (2, 9.0, 0.01), (4, 20, 0.0))]
    text = format_loading(rows, alone=8.0)
    assert '| 1 | 5 | 4 | 0.5 | 0.5 | 50.0% |' in text
    assert 'Loading keeps up with 2 workers: 2.0% of the time' in text
    # 8 images/s alone, 4.5 samples/s of a worker
    text = format_loading([Loading(2, 9.0, 0.5, 0.1, 4)], alone=10.0)
    assert 'does not keep up: at least 17% of the time' in text and 'about 3 workers' in text


def test_generated_pairs(tmp_path: Path) -> None:
    size = write_generated_pairs(tmp_path, 40, 60, 80)
    dataset = ImageTextShards('*.tar', data_root=str(tmp_path))
    assert [len(index) for index in dataset.indices] == [10] * 4
    assert decode_rgb(dataset.image_bytes(39)).shape == (60, 80, 3)
    files = [dataset.image_bytes(i) for i in range(32)]
    assert size == pytest.approx(np.mean([len(file) for file in files]) / 1e3)
    assert len(set(files)) == 32 and dataset.image_bytes(32) == files[0]


def test_noise_is_as_large_as_a_photograph(tmp_path: Path) -> None:
    """White noise of this size would have 480 kB, a flat image 5; COCO's images have 150."""
    pixels = natural_noise(480, 640, np.random.default_rng(0))
    Image.fromarray(pixels).save(tmp_path / 'noise.jpg', quality=90)
    assert 80e3 < (tmp_path / 'noise.jpg').stat().st_size < 180e3
    assert 30 < pixels.std() < 70


def test_loaders_of_configs(tmp_path: Path) -> None:
    path = config_path('_base_/datasets/coco_captions_image_text.py')
    config = Config.fromfile(path).train_dataloader
    changed = loader_config(config, 0, 5, str(tmp_path))
    assert changed.dataset.type == 'ImageTextShards' and changed.sampler.type == 'ShardSampler'
    assert changed.dataset.pipeline == config.dataset.pipeline and changed.batch_size == 5
    assert not changed.persistent_workers and config.num_workers == 4
    kept = loader_config(config, 2)
    assert kept.dataset == config.dataset and (kept.num_workers, kept.batch_size) == (2, 3)
    with pytest.raises(ValueError, match='ConcatDataset has no pipeline'):
        loader_config(ConfigDict(batch_size=1, dataset=dict(type='ConcatDataset')), 0, 1, 'x')
    config.dataset.pipeline.append(dict(type='LoadRegionProposals'))
    with pytest.raises(ValueError, match='generated pairs do not have'):
        loader_config(config, 0, 1, 'x')


def test_steps_prepare_the_batch() -> None:
    done: list[Any] = []
    task = SimpleNamespace(
        model=SimpleNamespace(data_preprocessor=lambda batch, training: done.append(batch)),
        step=lambda: done.append('step'),
    )
    loading.training_step(task)('batch')
    assert done == ['batch', 'step']


@pytest.mark.parametrize('workers', [0, 1])
def test_streams_go_on_with_the_next_pass(tmp_path: Path, workers: int) -> None:
    write_generated_pairs(tmp_path, 6, 30, 40)
    pipeline = [dict(type='LoadImageChecked'), dict(type='PackDetInputs', meta_keys=('img_id',))]
    config = ConfigDict(batch_size=3, prefetch_factor=3, dataset=dict(pipeline=pipeline))
    init_default_scope('mmdet')
    stream, ahead = loading.open_stream(loader_config(config, workers, shards=str(tmp_path)))
    seen = [s.img_id for batch in itertools.islice(stream, 6) for s in batch['data_samples']]
    assert [len(set(seen[i : i + 6])) for i in (0, 6, 12)] == [6] * 3
    assert ahead == 3 * workers


@pytest.mark.slow
def test_tool(tmp_path: Path) -> None:
    config = tmp_path / 'small.py'
    base = config_path('_base_/datasets/cc3m_shards_image_text.py')
    config.write_text(
        f'_base_ = {str(base)!r}\n'
        'train_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadImageChecked"), '
        'dict(type="PickCaption"), dict(type="PackDetInputs", meta_keys=("text",))]))\n'
    )
    out = tmp_path / 'numbers.json'
    options = (
        '--generated 12 --image-size 64 96 --workers 0 1 --batch-size 2 --samples 8 --with-step '
        '--steps 1 --names 3 --proposals 4 --threads 1'
    )
    command = [sys.executable, str(TOOL), 'loader', str(config), *options.split()]
    done = subprocess.run(
        [*command, '--out', str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found['image_size'] == [64, 96] and found['step_alone'] > 0
    assert [row['workers'] for row in found['rows']] == [0, 1]
    assert all(row['rate'] > 0 and row['step'] > 0 and row['wait'] > 0 for row in found['rows'])
    assert '| 1 | ' in done.stdout and 'A step without loading' in done.stdout
