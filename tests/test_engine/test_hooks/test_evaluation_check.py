# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Metrics are compared with their datasets, and save_best with the metrics, before a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger
from mmengine.registry import EVALUATOR, init_default_scope

from helpers.annotated_runner import NAMES, SPLIT, dataset_config, make_runner, write
from regionclip_mmdet.engine import DatasetCheckHook
from regionclip_mmdet.engine.robust.best_results import result_names

OURS = ('OVCocoAPMetric', 'ProposalRecallMetric')


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture()
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def change(folder: Path, part: str, number: int, **fields: Any) -> None:
    path = folder / 'a.json'
    content = json.loads(path.read_text())
    content[part][number].update(fields)
    path.write_text(json.dumps(content))


def check(dataset: Any, *metrics: dict, **evaluator: Any) -> SimpleNamespace:
    """What happens before a test; a loop."""
    config = {'type': 'Evaluator', 'metrics': list(metrics), **evaluator}
    loop = SimpleNamespace(
        evaluator=EVALUATOR.build(config), dataloader=SimpleNamespace(dataset=dataset)
    )
    loop.evaluator.dataset_meta = dataset.metainfo
    DatasetCheckHook()._check_evaluation(loop, 'test')
    return loop


def dataset(folder: Path, **settings: Any) -> Any:
    return DATASETS.build(dataset_config(folder, SPLIT, test_mode=True, **settings))


def metric(folder: Path, kind: str = 'OVCocoAPMetric', **settings: Any) -> dict:
    return dict(type=kind, ann_file=str(folder / 'a.json'), **settings)


@pytest.mark.parametrize('kind', [*OURS, 'CocoMetric'])
def test_other_images_than_the_metrics(
    kind: str, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    for name in 'ab':
        write(tmp_path / name)
    data = dataset(tmp_path / 'a')
    check(data, metric(tmp_path / 'b', kind))
    assert 'images of' not in logged.text
    check(dataset(tmp_path / 'a', indices=2), metric(tmp_path / 'a', kind))
    assert f'{kind}: 2 of the 3 images of' in logged.text
    change(tmp_path / 'b', 'images', 1, file_name='other.png')
    with pytest.raises(ValueError, match=r'1 of 3 images .* others in .*id 1: .*1\.png and other'):
        check(data, metric(tmp_path / 'b', kind))
    change(tmp_path / 'b', 'images', 1, file_name='1.png', height=65)
    with pytest.raises(ValueError, match=r'1 of 3 .* of 64 x 64 and 65 x 64'):
        check(data, metric(tmp_path / 'b', kind))
    write(tmp_path / 'c', number=2)
    with pytest.raises(ValueError, match=r'1 of 3 images that are tested are not in .*the id 2'):
        check(data, metric(tmp_path / 'c', kind))


def test_a_run_of_a_few_batches(tmp_path: Path) -> None:
    """``num_batch_per_epoch`` of a loader hides its dataset."""
    write(tmp_path, number=5)
    runner = make_runner(*[tmp_path] * 3, SPLIT, metric='OVCocoAPMetric')
    runner._test_dataloader['num_batch_per_epoch'] = 1
    runner.train()
    assert 'coco/bbox_all_ap50' in runner.test()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'OVCocoAPMetric: 3 of the 5 images of' in log.read_text()


def test_stock_metrics_and_ids_from_0(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    check(dataset(tmp_path), metric(tmp_path, 'CocoMetric'))
    assert 'CocoMetric: 1 annotation ids are no whole numbers from 1 on, e.g. 0' in logged.text


def perfect(data: Any) -> list[dict]:
    samples = []
    for number in range(len(data)):
        info = data.get_data_info(number)
        boxes = torch.tensor([i['bbox'] for i in info['instances']]).float().reshape(-1, 4)
        labels = torch.tensor([i['bbox_label'] for i in info['instances']]).long()
        found = dict(bboxes=boxes, labels=labels, scores=torch.ones(len(labels)))
        regions = dict(found, region_inds=torch.arange(len(labels)))
        samples.append(
            dict(
                img_id=info['img_id'],
                img_path=info['img_path'],
                ori_shape=(info['height'], info['width']),
                gt_instances=dict(labels=labels),
                pred_instances=regions,
            )
        )
    return samples


@pytest.mark.parametrize('kind', [*OURS, 'RegionClassificationMetric'])
def test_datasets_put_together(kind: str, tmp_path: Path) -> None:
    write(tmp_path / 'a')
    write(tmp_path / 'b', number=5)
    both = dict(
        type='ConcatDataset',
        datasets=[dataset_config(tmp_path / n, SPLIT, test_mode=True) for n in 'ab'],
    )
    joined = DATASETS.build(both)
    metrics = [
        dict(type=kind) if 'Region' in kind else metric(tmp_path / name, kind) for name in 'ab'
    ]
    with pytest.raises(ValueError, match='3 image ids come twice .*MultiDatasetsEvaluator'):
        check(joined, metrics[1])
    several = dict(type='MultiDatasetsEvaluator', dataset_prefixes=['one', 'other'])
    for meta in (SPLIT, dict(base_classes=NAMES, novel_classes=())):
        both['datasets'][1] = dataset_config(tmp_path / 'b', meta, test_mode=True)
        joined = DATASETS.build(both)
        loop = check(joined, *metrics, **several)
        for sample in perfect(joined):
            loop.evaluator.process([sample])
        found = loop.evaluator.evaluate(len(joined))
        names = result_names(loop.evaluator, joined)
        assert [name for name in names if name in found] == list(found)
        assert {name.partition('/')[0] for name in found} == {'one', 'other'}
        best = [v for k, v in found.items() if k.endswith(('all_ap50', '/top1', '/R50@100'))]
        assert best == pytest.approx([1, 1])
    with pytest.raises(ValueError, match='different metainfo: they need a metric each'):
        check(joined, metrics[1])
    for wrong in (dict(several, dataset_prefixes=['one']), several):
        with pytest.raises(ValueError, match='as many metrics and dataset_prefixes'):
            check(joined if wrong is not several else joined.datasets[0], *metrics, **wrong)


def test_names_that_are_a_text(tmp_path: Path) -> None:
    write(tmp_path)
    for key in ('classes', 'base_classes', 'novel_classes'):
        data = dataset(tmp_path)
        data._metainfo[key] = 'mug'
        with pytest.raises(ValueError, match=rf"{key} is the text 'mug', .*write {key}=\['mug'\]"):
            check(data, metric(tmp_path))


def save_best(name: Any, **more: Any) -> dict:
    return dict(type='AtomicCheckpointHook', save_best=name, **more)


@pytest.mark.parametrize(
    ('kind', 'name', 'best'),
    [
        ('OVCocoAPMetric', 'auto', 'coco_bbox_novel_ap50'),
        ('OVCocoAPMetric', 'coco/bbox_mAP_s', 'coco_bbox_mAP_s'),
        ('ProposalRecallMetric', 'proposals/novel_R50@100', 'proposals_novel_R50@100'),
    ],
)
def test_the_best_of_our_results(kind: str, name: str, best: str, tmp_path: Path) -> None:
    write(tmp_path)
    runner = make_runner(
        *[tmp_path] * 3, SPLIT, metric=kind, checkpoint=save_best(name), val_interval=1
    )
    if kind != 'OVCocoAPMetric':
        runner._val_evaluator.pop('metric')
    runner.train()
    assert [path.name for path in (tmp_path / 'work').glob('best_*')] == [f'best_{best}_iter_1.pth']


def test_a_best_result_that_is_none(tmp_path: Path) -> None:
    write(tmp_path)
    no_novel = dict(base_classes=NAMES, novel_classes=())
    for name, meta, metric in (
        (['coco/bbox_novel_ap50'], no_novel, 'OVCocoAPMetric'),
        ('coco/bbox_ap', SPLIT, 'OVCocoAPMetric'),
    ):
        folder = tmp_path / str(len(meta['base_classes']))
        runner = make_runner(
            folder, tmp_path, tmp_path, meta, metric=metric, checkpoint=save_best(name)
        )
        with pytest.raises(ValueError, match=r"save_best=.* no such .*'coco/bbox_all_ap50', "):
            runner.train()
        assert runner.iter == 0 and not list(folder.rglob('*.pth'))
    # stock metrics do not tell before
    runner = make_runner(
        tmp_path / 's', tmp_path, tmp_path, checkpoint=save_best('coco/bbox_map50'), val_interval=1
    )
    with pytest.raises(ValueError, match=r"save_best=\['coco/bbox_map50'\].*'coco/bbox_mAP_50'"):
        runner.train()
