# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Bad data ends a run before its first iteration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.runner.runner import _SlicedDataset

from helpers.annotated_runner import NAMES, SPLIT, dataset_config, make_runner, write
from regionclip_mmdet.datasets.checks import check_coco
from regionclip_mmdet.engine import DatasetCheckHook
from regionclip_mmdet.engine.hooks.dataset_check import unwrap_datasets


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')


def test_sound_data_trains_and_tests_images_without_boxes_too(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    runner = make_runner(tmp_path, tmp_path / 'a', tmp_path / 'a', SPLIT, metric='OVCocoMetric')
    runner.train()
    assert (tmp_path / 'work' / 'iter_1.pth').exists()
    assert {'coco/base_ap50', 'coco/novel_ap50'} <= set(runner.test())


def test_training_stops_before_its_first_iteration(tmp_path: Path) -> None:
    for name in ('good', 'bad'):
        write(tmp_path / name, **(dict(bbox=[4, 4, float('nan'), 9]) if name == 'bad' else {}))
    runner = make_runner(tmp_path, tmp_path / 'bad', tmp_path / 'good')
    with pytest.raises(ValueError, match=r'bad/a\.json, annotation 0 .*nan'):
        runner.train()
    # data of the validation is looked at before training, too
    runner = make_runner(tmp_path / 'val', tmp_path / 'good', tmp_path / 'bad')
    with pytest.raises(ValueError, match=r'bad/a\.json, annotation 0 .*nan'):
        runner.train()
    assert runner.iter == 0 and not list(tmp_path.rglob('*.pth'))
    with pytest.raises(ValueError, match=r'bad/a\.json, annotation 0'):
        make_runner(tmp_path / 'test', tmp_path / 'good', tmp_path / 'bad').test()
    unchecked = make_runner(
        tmp_path / 'off', tmp_path / 'good', tmp_path / 'bad', hook=dict(annotations=False)
    )
    unchecked.train()
    assert unchecked.iter == 1


def test_a_metric_of_base_and_novel_needs_the_split(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    runner = make_runner(tmp_path, tmp_path / 'a', tmp_path / 'a', metric='OVCocoMetric')
    with pytest.raises(ValueError, match='The validation dataset: .* no base_classes'):
        runner.train()
    with pytest.raises(ValueError, match='The test dataset: .* no base_classes'):
        runner.test()
    half = dict(base_classes=NAMES)
    runner = make_runner(
        tmp_path / 'b', tmp_path / 'a', tmp_path / 'a', half, metric='OVCocoMetric'
    )
    with pytest.raises(ValueError, match='The validation dataset: .* no novel_classes'):
        runner.val()
    # mmdet's metric would take all classes for novel ones, ours leaves them out
    half['novel_classes'] = ()
    folders = (tmp_path / 'a', tmp_path / 'a', half)
    runner = make_runner(tmp_path / 'c', *folders, metric='OVCocoMetric')
    with pytest.raises(ValueError, match='The validation dataset: .* no novel_classes'):
        runner.val()
    runner = make_runner(tmp_path / 'd', *folders, metric='OVCocoAPMetric')
    runner.train()
    metrics = runner.val()
    assert 'coco/bbox_base_ap50' in metrics and not any('novel' in key for key in metrics)


def check(dataset: object, **settings: object) -> None:
    DatasetCheckHook(**settings)._check_dataset(dataset, 'training')


def build(folder: Path, **settings: object) -> CocoDataset:
    config = dataset_config(folder, **settings)
    config.pop('type')
    return CocoDataset(**config)


def test_names_that_the_file_lacks_or_orders_otherwise(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = build(tmp_path)
    check(dataset)
    dataset._metainfo['classes'] = ('cat', 'cow')
    with pytest.raises(ValueError, match=r"no categories \['cow'\].*metainfo=dict\(classes"):
        check(dataset)
    dataset._metainfo['classes'] = NAMES[::-1]
    with pytest.raises(ValueError, match="at place 0 it has 'cat' instead of 'red ball'"):
        check(dataset)


def test_a_sample_of_images_must_exist(tmp_path: Path) -> None:
    write(tmp_path, number=20)
    (tmp_path / 'im' / '7.png').unlink()
    dataset = build(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'1 of 20 images .*im/7\.png.*data_prefix'):
        check(dataset)
    check(dataset, num_images=0)
    check(dataset, num_images=2)  # the first and the last
    with pytest.raises(FileNotFoundError, match='1 of 20'):
        check(dataset, num_images=None)
    dataset.skip_broken = True
    check(dataset)
    for path in (tmp_path / 'im').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match='20 of 20'):
        check(dataset)


def test_wrapped_datasets_are_checked(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        write(tmp_path / name, **(dict(category_id=9) if name == 'b' else {}))
    parts = [build(tmp_path / name) for name in ('a', 'b')]
    joined, repeated = ConcatDataset(parts), RepeatDataset(parts[1], 2)
    assert list(unwrap_datasets(joined)) == parts and list(unwrap_datasets(repeated)) == parts[1:]
    few = _SlicedDataset(joined, 2)  # num_batch_per_epoch of a loader
    assert list(unwrap_datasets(few)) == parts
    for wrapped in (joined, repeated, few):
        with pytest.raises(ValueError, match=r'b/a\.json, annotation 0 .*category_id 9'):
            check(wrapped)


def test_each_dataset_is_read_once(tmp_path: Path) -> None:
    write(tmp_path)
    dataset, hook = build(tmp_path), DatasetCheckHook()
    hook._check_dataset(dataset, 'training')
    content = (tmp_path / 'a.json').read_text()
    (tmp_path / 'a.json').unlink()
    hook._check_dataset(dataset, 'validation')
    with pytest.raises(FileNotFoundError, match=r'CocoDataset: annotation file'):
        check(dataset)
    dataset.coco_report = check_coco(json.loads(content), 'a.json')  # as ours do when built
    check(dataset)


def test_part_of_the_default_runtime() -> None:
    configs = Path(__file__).parents[3] / 'configs'
    runtime = Config.fromfile(configs / '_base_' / 'default_runtime.py')
    assert dict(type='DatasetCheckHook') in runtime.default_hooks.values()
