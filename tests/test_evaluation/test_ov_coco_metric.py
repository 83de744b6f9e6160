# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""AP of base, novel and all classes against pycocotools, one class at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mmdet.evaluation import OVCocoMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import generated_detections as generated
from regionclip_mmdet.evaluation import OVCocoAPMetric

NAMES, IDS = generated.COCO_NAMES, generated.COCO_IDS
BASE, NOVEL = ('bird', 'cow', 'dog'), ('cat', 'sheep', 'zebra')
META = dict(classes=NAMES, base_classes=BASE, novel_classes=NOVEL)


def make_detections(rng: np.random.Generator, truth: dict) -> list[dict]:
    return generated.detections(rng, truth, IDS)


def evaluate(metric: OVCocoMetric, samples: list[dict], meta: dict = META) -> dict[str, float]:
    metric.dataset_meta = meta
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def by_hand(path: Path, samples: list[dict], kind: str) -> dict[str, np.ndarray]:
    """Per class AP and AP50 of pycocotools with its own settings, evaluated alone."""
    truth = COCO(str(path))
    found = truth.loadRes(generated.rows_of(samples, IDS, kind))
    stats = {}
    for name, number in zip(NAMES, IDS, strict=True):
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.catIds = [number]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        stats[name] = evaluation.stats.copy()
    return stats


def mean(stats: dict, names: Sequence[str], item: int) -> float:
    values = [stats[n][item] for n in names if stats[n][item] > -1]
    return float(np.mean(values)) if values else -1.0


@pytest.fixture()
def truth_file(tmp_path: Path) -> Path:
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(generated.coco_truth(np.random.default_rng(3))))
    return path


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_against_pycocotools(truth_file: Path, kind: str) -> None:
    truth = json.loads(truth_file.read_text())
    samples = make_detections(np.random.default_rng(5), truth)
    result = evaluate(OVCocoAPMetric(str(truth_file), ['bbox', 'segm']), samples)
    stats = by_hand(truth_file, samples, kind)
    groups = dict(novel=NOVEL, base=BASE, all=NAMES)
    for group, names in groups.items():
        expected = mean(stats, names, 1)
        assert result[f'coco/{kind}_{group}_ap50'] == pytest.approx(expected, rel=1e-12)
        assert 0.05 < expected < 0.95
    for group in ('novel', 'base'):
        expected = mean(stats, groups[group], 0)
        assert result[f'coco/{kind}_{group}_ap'] == pytest.approx(expected, rel=1e-12)
    for place, item in enumerate(('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')):
        expected = mean(stats, NAMES, place)
        assert result[f'coco/{kind}_{item}'] == pytest.approx(expected, rel=1e-12)
    assert len(result) == 2 * 11
    assert result['coco/bbox_novel_ap50'] != result['coco/segm_novel_ap50']


def test_labels_in_any_order(truth_file: Path) -> None:
    samples = make_detections(np.random.default_rng(5), json.loads(truth_file.read_text()))
    expected = evaluate(OVCocoAPMetric(str(truth_file)), samples)
    for sample in samples:
        sample['pred_instances']['labels'] = 5 - sample['pred_instances']['labels']
    turned = evaluate(OVCocoAPMetric(str(truth_file)), samples, dict(META, classes=NAMES[::-1]))
    assert turned == pytest.approx(expected, rel=1e-12)


def test_against_mmdet(truth_file: Path) -> None:
    # the categories in the order of their ids, which mmdet's metric takes for granted
    truth = json.loads(truth_file.read_text())
    truth['categories'].sort(key=lambda category: category['id'])
    truth_file.write_text(json.dumps(truth))
    samples = make_detections(np.random.default_rng(6), truth)
    ours = evaluate(METRICS.build(dict(type='OVCocoAPMetric', ann_file=str(truth_file))), samples)
    theirs = evaluate(OVCocoMetric(str(truth_file), proposal_nums=(1, 10, 100)), samples)
    for group in ('base', 'novel'):
        for item in ('ap', 'ap50'):
            assert ours[f'coco/bbox_{group}_{item}'] == pytest.approx(
                theirs[f'coco/{group}_{item}']
            )
    for item in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'):
        expected = theirs[f'coco/bbox_{item}']
        assert ours[f'coco/bbox_{item}'] == pytest.approx(expected, abs=5.1e-4)


def test_a_hundred_detections_count(tmp_path: Path) -> None:
    box = [10.0, 10, 50, 50]
    truth = generated.coco_truth(np.random.default_rng(0), images=1)
    truth['annotations'] = [
        dict(id=1, image_id=0, category_id=IDS[0], bbox=box, area=2500.0, iscrowd=0)
    ]
    truth['categories'].sort(key=lambda category: category['id'])
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(truth))
    misses = np.repeat([[100.0, 100, 20, 20]], 120, axis=0)
    found = np.concatenate([misses, [box]])
    labels, scores = np.zeros(121, dtype=int), np.linspace(1, 0.1, 121)
    sample = generated.to_sample(0, found, labels, scores)
    assert evaluate(OVCocoAPMetric(str(path)), [sample])['coco/bbox_base_ap50'] == 0
    more = evaluate(OVCocoAPMetric(str(path), max_dets=121), [sample])
    assert more['coco/bbox_base_ap50'] == pytest.approx(1 / 121)
    # mmdet's defaults: 1000 for one number, 100 for the other
    theirs = evaluate(OVCocoMetric(str(path)), [sample])
    assert theirs['coco/base_ap50'] == pytest.approx(1 / 121)
    assert theirs['coco/bbox_mAP'] == 0


def test_empty_groups(truth_file: Path) -> None:
    truth = json.loads(truth_file.read_text())
    samples = make_detections(np.random.default_rng(7), truth)
    stats = by_hand(truth_file, samples, 'bbox')
    meta = dict(META, novel_classes=())
    result = evaluate(OVCocoAPMetric(str(truth_file)), samples, meta)
    assert not any('novel' in key for key in result)
    assert result['coco/bbox_base_ap50'] == pytest.approx(mean(stats, BASE, 1))
    # classes without objects: -1, and no part in the mean of all
    meta = dict(META, novel_classes=('zebra',))
    result = evaluate(OVCocoAPMetric(str(truth_file)), samples, meta)
    assert result['coco/bbox_novel_ap50'] == result['coco/bbox_novel_ap'] == -1
    assert result['coco/bbox_all_ap50'] == pytest.approx(mean(stats, NAMES, 1))


def test_no_detections(truth_file: Path) -> None:
    nothing = [generated.to_sample(0, np.zeros((0, 4)), np.zeros(0, dtype=int), [])]
    result = evaluate(OVCocoAPMetric(str(truth_file), ['bbox', 'segm']), nothing)
    assert {result[f'coco/bbox_{group}_ap50'] for group in ('base', 'novel', 'all')} == {0.0}
    assert result['coco/segm_mAP'] == 0


def test_files_of_results(truth_file: Path, tmp_path: Path) -> None:
    truth = json.loads(truth_file.read_text())
    samples = make_detections(np.random.default_rng(8), truth)
    metric = OVCocoAPMetric(
        str(truth_file), format_only=True, outfile_prefix=str(tmp_path / 'found')
    )
    assert evaluate(metric, samples) == {}
    rows = json.loads((tmp_path / 'found.bbox.json').read_text())
    assert len(rows) == sum(len(s['pred_instances']['labels']) for s in samples)
    assert {row['category_id'] for row in rows} <= set(IDS)


def test_table_of_classes(truth_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = make_detections(np.random.default_rng(9), json.loads(truth_file.read_text()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        evaluate(OVCocoAPMetric(str(truth_file), classwise=True), samples)
    finally:
        logger.removeHandler(caplog.handler)
    stats = by_hand(truth_file, samples, 'bbox')
    for name in NAMES:
        row = next(line for line in caplog.text.splitlines() if line.startswith(f'| {name} '))
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        assert cells == [name, *(f'{stats[name][item]:.4f}' for item in (0, 1))]


def test_refusals(truth_file: Path) -> None:
    with pytest.raises(ValueError, match=r"not \['proposal'\]; recall .* ProposalRecallMetric"):
        OVCocoAPMetric(str(truth_file), ['bbox', 'proposal'])
    nothing = [generated.to_sample(0, np.zeros((0, 4)), np.zeros(0, dtype=int), [])]
    with pytest.raises(ValueError, match=r"lacks \['gnu'\] \(1 of 7 classes"):
        evaluate(OVCocoAPMetric(str(truth_file)), nothing, dict(META, classes=(*NAMES, 'gnu')))
    del nothing[0]['pred_instances']['masks']
    with pytest.raises(ValueError, match='segm is to be evaluated'):
        evaluate(OVCocoAPMetric(str(truth_file), 'segm'), nothing)
