# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals that are computed once are those that training would compute."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from helpers import proposals_world as world_of
from helpers import tiny_models
from regionclip_mmdet.datasets import ImageTextShards
from regionclip_mmdet.datasets.shards import proposal_format
from regionclip_mmdet.models.detectors import RegionCLIP
from regionclip_mmdet.models.localizers import get_proposals
from regionclip_mmdet.pretraining import ProposalMaker


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with proposals; not to be changed."""
    world = world_of.make(tmp_path_factory.mktemp('world'))
    world_of.run(world)
    return world


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Shards without proposals."""
    return world_of.make(tmp_path)


def dataset(world: Path, **changes: Any) -> ImageTextShards:
    return DATASETS.build(world_of.config(world, **changes).train_dataloader.dataset)


def pretrainer(world: Path, **changes: Any) -> RegionCLIP:
    model = MODELS.build({**Config.fromfile(world / 'config.py').model, **changes})
    model.ensure_weights(learning=True)
    return model


def batch(model: RegionCLIP, data: ImageTextShards, *numbers: int) -> tuple:
    found = model.data_preprocessor(pseudo_collate([data[n] for n in numbers]), training=True)
    return found['inputs'], found['data_samples']


def online(world: Path, flip: float = 0.0) -> ImageTextShards:
    return dataset(world, proposals=None, pipeline=world_of.pipelines(flip)[0])


def test_they_are_those_of_the_localizer(world: Path) -> None:
    """From config to tool to dataset to model, at the same size, image by image."""
    with_localizer = pretrainer(world, localizer=world_of.config(world).localizer)
    without = pretrainer(world)
    assert without.localizer is None
    data, plain = dataset(world), online(world)
    shapes = set()
    for number in range(len(data)):
        inputs, samples = batch(without, data, number)
        same_inputs, plain_samples = batch(with_localizer, plain, number)
        assert torch.equal(inputs, same_inputs)
        shapes.add(tuple(inputs.shape[2:]))
        found = get_proposals(None, inputs, samples)[0]
        wanted = get_proposals(with_localizer.localizer, inputs, plain_samples)[0]
        assert len(found) == len(wanted) > 5
        torch.testing.assert_close(found.bboxes, wanted.bboxes, rtol=0, atol=1e-3)
        assert torch.equal(found.objectness_logits, wanted.objectness_logits)
        assert (found.objectness_logits.diff() <= 0).all()
        rois = []
        for model, some in ((without, samples), (with_localizer, plain_samples)):
            model.num_regions = 4
            torch.manual_seed(number)
            rois.append(model.sample_regions(inputs, some))
        assert len(rois[0]) == 4
        torch.testing.assert_close(*rois, rtol=0, atol=1e-3)
    # padded to multiples of 32: boxes are fractions of the image, not of the batch
    assert shapes == {(96, 128), (128, 96), (64, 224), (96, 96), (96, 160)}


def test_flipped_images_have_mirrored_boxes(world: Path) -> None:
    model = pretrainer(world)
    data, flipped = dataset(world), dataset(world, pipeline=world_of.pipelines(1.0)[1])
    for number in (0, 3, 5):
        inputs, samples = batch(model, data, number)
        mirrored, mirrored_samples = batch(model, flipped, number)
        assert mirrored_samples[0].flip
        width = samples[0].img_shape[1]
        assert torch.equal(mirrored[..., :width], inputs[..., :width].flip(3))
        x1, y1, x2, y2 = samples[0].proposals.bboxes.T
        wanted = torch.stack([width - x2, y1, width - x1, y2], dim=1)
        torch.testing.assert_close(mirrored_samples[0].proposals.bboxes, wanted, rtol=0, atol=1e-3)


def test_other_sizes_see_the_same_parts(world: Path) -> None:
    pipeline = world_of.pipelines()[1]
    pipeline[2]['transforms'] = [dict(world_of.RESIZE, scale=48, max_size=100)]
    large, small = dataset(world)[4]['data_samples'], dataset(world, pipeline=pipeline)[4]
    small = small['data_samples']
    assert (large.img_shape, small.img_shape) == ((96, 96), (48, 48))
    boxes = large.proposals.bboxes / 2
    torch.testing.assert_close(small.proposals.bboxes, boxes, rtol=0, atol=1e-3)


def test_pretraining_runs_without_a_localizer(world: Path) -> None:
    model, data = pretrainer(world), dataset(world)
    torch.manual_seed(0)
    losses = model.loss(*batch(model, data, 0, 3))
    with_localizer = pretrainer(world, localizer=world_of.config(world).localizer)
    assert losses.keys() == with_localizer.loss(*batch(model, online(world), 0, 3)).keys()
    assert all(value.isfinite().all() for value in losses.values())


def stored(folder: Path, shard: int) -> Any:
    return np.load(folder / f'{shard:05d}.proposals.npz')


@pytest.mark.parametrize('waiting', [16, 0])
def test_images_of_one_size_may_be_computed_together(
    world: Path, tmp_path: Path, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('regionclip_mmdet.datasets.size_groups.MAX_WAITING', waiting)
    sizes = []
    make = ProposalMaker.make
    monkeypatch.setattr(
        ProposalMaker, 'make', lambda self, *args: sizes.append(len(args[0])) or make(self, *args)
    )
    world_of.run(world, '--out', tmp_path, '--batch-size', 2)
    assert sizes == ([2, *[1] * 7] if waiting else [1] * 9)
    for shard in range(3):
        one, other = stored(world / 'shards' / 'proposals', shard), stored(tmp_path, shard)
        assert one['starts'].tolist() == other['starts'].tolist()
        np.testing.assert_allclose(one['boxes'], other['boxes'], atol=1e-4)
        np.testing.assert_allclose(one['objectness'], other['objectness'], atol=1e-4)


def test_lower_precision_is_close(world: Path, tmp_path: Path) -> None:
    world_of.run(world, '--out', tmp_path, '--precision', 'bfloat16')
    one, other = stored(world / 'shards' / 'proposals', 1), stored(tmp_path, 1)
    assert not np.array_equal(one['objectness'][:3], other['objectness'][:3])
    first = one['starts'][:-1], other['starts'][:-1]
    best, close = one['objectness'][first[0]], other['objectness'][first[1]]
    np.testing.assert_allclose(best, close, rtol=0.05)
    assert other['objectness'].dtype == np.float32


def test_several_processes_write_the_same_files(world: Path) -> None:
    with world_of.begin(world, 2, '--out', world / 'two') as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert world_of.contents(world / 'two') == world_of.contents(world / 'shards' / 'proposals')
    assert re.search(r'two: 3 shards, 0 of them kept as they were; 9 images now', output), output


def test_an_interrupted_run_goes_on(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savez, written = np.savez, []

    def stop_in_the_second(file: Any, **arrays: np.ndarray) -> None:
        if 'boxes' in arrays:  # others are indices of shards
            if written:
                file.write(b'half of it')
                raise KeyboardInterrupt
            written.append(arrays)
        savez(file, **arrays)

    folder = own / 'shards' / 'proposals'
    with monkeypatch.context() as patch:
        patch.setattr(proposal_format.np, 'savez', stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            world_of.run(own)
    assert list(world_of.contents(folder)) == ['00000.proposals.npz']
    before = os.stat(folder / '00000.proposals.npz').st_mtime_ns
    (folder / 'tmpabc.being-written').write_bytes(b'left by a killed run')
    world_of.run(own)
    assert os.stat(folder / '00000.proposals.npz').st_mtime_ns == before
    assert len(dataset(own)) == 9
    times = {p.name: os.stat(p).st_mtime_ns for p in folder.glob('*.npz')}
    world_of.run(own)  # nothing is left to do
    assert {p.name: os.stat(p).st_mtime_ns for p in folder.glob('*.npz')} == times


@pytest.mark.slow
def test_a_killed_run_goes_on(world: Path, own: Path) -> None:
    folder = own / 'shards' / 'proposals'
    with world_of.begin(own, 2) as process:
        while process.poll() is None and not list(folder.glob('*.npz')):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    with world_of.begin(own, 2) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    wanted = world_of.contents(world / 'shards' / 'proposals')
    found = world_of.contents(folder)
    assert {name: found[name] for name in wanted} == wanted


def test_files_of_other_settings_are_not_touched(own: Path) -> None:
    folder = own / 'shards' / 'proposals'
    world_of.run(own)
    first = world_of.contents(folder)
    for arguments, what in (
        (('--num', 5), 'num'),
        (('--resize', 64, 128), 'pipeline'),
        (('--precision', 'bfloat16'), 'precision'),
        (('--cfg-options', 'localizer.test_cfg.nms.iou_threshold=0.3'), 'localizer'),
    ):
        message = rf'00000\.proposals\.npz was made with other settings: {what} differ.*--overwrite'
        with pytest.raises(SystemExit, match=message):
            world_of.run(own, *arguments)
    tiny_models.save_localizer(own / 'rpn.pth', seed=5)
    with pytest.raises(SystemExit, match='weights_sha256 differ'):
        world_of.run(own)
    assert world_of.contents(folder) == first
    world_of.run(own, '--overwrite')
    second = world_of.contents(folder)
    assert all(second[name] != first[name] for name in first if name.endswith('.npz'))


def test_the_best_boxes_are_kept(world: Path) -> None:
    world_of.run(world, '--out', world / 'few', '--num', 3)
    all_of, few = dataset(world), dataset(world, proposals=str(world / 'few'))
    for number in range(len(all_of)):
        found = few[number]['data_samples'].proposals
        wanted = all_of[number]['data_samples'].proposals[:3]
        assert torch.equal(found.bboxes, wanted.bboxes) and len(found) == 3
        assert torch.equal(found.objectness_logits, wanted.objectness_logits)


def test_damaged_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    world = world_of.make(tmp_path, broken=(1, 5))
    world_of.run(world)
    output = capsys.readouterr().out
    assert '3 shards, 0 of them kept as they were; 9 images now' in output
    assert '2 damaged images' in output
    lines = (world / 'shards' / 'proposals' / 'broken.tsv').read_text().splitlines()
    assert [line.split('\t')[:2] for line in lines] == [
        ['00000.tar', '000000001'],
        ['00001.tar', '000000005'],
    ]
    assert all('the image cannot be decoded' in line for line in lines)
    data = dataset(world, exclude='proposals/broken.tsv')
    texts = [data[i]['data_samples'].text for i in range(len(data))]
    assert texts == [f'caption {n}' for n in (0, 2, 3, 4, 6, 7, 8)]
    model = pretrainer(world, localizer=world_of.config(world).localizer)
    inputs, samples = batch(model, data, 3)  # the pair after a damaged one
    wanted = model.localizer(inputs, [s.metainfo for s in samples])[0]
    torch.testing.assert_close(samples[0].proposals.bboxes, wanted.bboxes, rtol=0, atol=1e-3)
    with np.load(world / 'shards' / 'proposals' / '00001.proposals.npz') as content:
        assert np.diff(content['starts'])[2] == 0 and (np.diff(content['starts']) > 0).sum() == 3
        assert json.loads(str(content['meta']))['broken'][0][:2] == [2, '000000005']
    assert len(dataset(world)) == 9


def test_too_many_damaged_images_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('regionclip_mmdet.pretraining.proposals_of_shards.MIN_SEEN', 2)
    world = world_of.make(tmp_path, broken=(0, 1))
    with pytest.raises(SystemExit, match=r'2 of the first 2 images of \S+00000\.tar are damaged'):
        world_of.run(world)


def test_a_shard_that_got_other_pairs_is_computed_anew(own: Path) -> None:
    world_of.run(own)
    folder = own / 'shards' / 'proposals'
    first = world_of.contents(folder)
    world_of.write_shards(own / 'shards', (3, 4, 3))
    world_of.run(own)
    second = world_of.contents(folder)
    assert [name for name in first if first[name] != second[name]] == ['00002.proposals.npz']
    assert len(dataset(own)[9]['data_samples'].proposals) > 5


def test_other_images_of_the_same_names(own: Path) -> None:
    world_of.run(own)
    first = world_of.contents(own / 'shards' / 'proposals')
    world_of.write_shards(own / 'shards', shift=100)
    with pytest.raises(ValueError, match='made for other pairs or images'):
        len(dataset(own))
    world_of.run(own)
    second = world_of.contents(own / 'shards' / 'proposals')
    assert all(first[name] != second[name] for name in first if name.endswith('.npz'))
    assert len(dataset(own)[0]['data_samples'].proposals) > 5


def test_a_localizer_of_the_model_serves(own: Path) -> None:
    cfg = world_of.config(own, proposals=None, pipeline=world_of.pipelines()[0])
    cfg.model.localizer = cfg.pop('localizer')
    cfg.dump(own / 'config.py')
    with pytest.raises(SystemExit, match='say one with --out'):
        world_of.run(own)
    world_of.run(own, '--out', own / 'shards' / 'proposals')
    found = dataset(own)[0]['data_samples'].proposals
    model = pretrainer(own)
    inputs, samples = batch(model, online(own), 0)
    wanted = model.localizer(inputs, [samples[0].metainfo])[0]
    torch.testing.assert_close(found.bboxes, wanted.bboxes, rtol=0, atol=1e-3)


def test_what_cannot_be_computed_is_refused(own: Path) -> None:
    cfg = world_of.config(own)
    for change, message in (
        (dict(localizer=None), 'The config has no localizer'),
        (dict(localizer=dict(init_cfg=None)), "'localizer' of ProposalMaker holds random weights"),
        (dict(localizer=dict(init_cfg=dict(checkpoint='no.pth'))), r'no\.pth does not exist'),
        (
            dict(train_dataloader=dict(dataset=dict(type='ImageTextDataset'))),
            r'not ImageTextDataset\. Pack .* first: tools/data/pack_shards\.py',
        ),
    ):
        changed = Config(cfg.to_dict())
        changed.merge_from_dict(change)
        changed.dump(own / 'config.py')
        with pytest.raises(SystemExit, match=message):
            world_of.run(own)
    assert not (own / 'shards' / 'proposals').exists()
