# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS AP by frequency, fixed AP and minival against the lvis package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lvis import LVIS, LVISEval, LVISResults
from mmdet.evaluation.metrics.lvis_metric import LVISFixedAPMetric
from mmdet.registry import METRICS

from helpers import generated_detections as generated
from regionclip_mmdet.evaluation import OVLVISMetric

FREQUENCY, IDS, SIDE = generated.LVIS_FREQUENCY, generated.LVIS_IDS, generated.SIDE
META = dict(classes=generated.LVIS_NAMES)
ITEMS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf')


def make_samples(rng: np.random.Generator, truth: dict) -> list[dict]:
    return generated.detections(rng, truth, IDS)


def rows_of(samples: list[dict], kind: str) -> list[dict]:
    return generated.rows_of(samples, IDS, kind)


def by_lvis(path: Path, rows: list[dict], kind: str, max_dets: int = 300) -> LVISEval:
    truth = LVIS(str(path))
    evaluation = LVISEval(truth, LVISResults(truth, rows, max_dets=max_dets), kind)
    evaluation.run()
    return evaluation


def evaluate(metric: OVLVISMetric | LVISFixedAPMetric, samples: list[dict]) -> dict[str, float]:
    metric.dataset_meta = META
    metric.process({}, samples)
    return metric.evaluate(len(samples))


@pytest.fixture()
def truth_file(tmp_path: Path) -> Path:
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(generated.lvis_truth(np.random.default_rng(1))))
    return path


def test_against_lvis(truth_file: Path) -> None:
    samples = make_samples(np.random.default_rng(2), json.loads(truth_file.read_text()))
    metric = METRICS.build(
        dict(type='OVLVISMetric', ann_file=str(truth_file), metric=['bbox', 'segm'])
    )
    result = evaluate(metric, samples)
    for kind in ('bbox', 'segm'):
        expected = by_lvis(truth_file, rows_of(samples, kind), kind)
        for item in ITEMS:
            value = expected.results[item]
            assert result[f'lvis/{kind}_{item}'] == pytest.approx(value, rel=1e-12)
        precision = expected.eval['precision'][0, :, :, 0]
        for letter in 'rcf':
            columns = [k for k, i in enumerate(IDS) if FREQUENCY[i] == letter and i != 12]
            value = np.mean([precision[:, k].mean() for k in columns])
            assert result[f'lvis/{kind}_AP{letter}50'] == pytest.approx(value, rel=1e-12)
            assert 0.05 < value < 0.99
    assert len(result) == 2 * 12
    # boxes are larger than masks: with their areas other objects would be small
    assert result['lvis/bbox_AP'] != result['lvis/segm_AP']
    assert evaluate(metric, samples) == result  # a second evaluation finds everything as it was


@pytest.mark.parametrize('limit', [2, 20])
def test_limits(truth_file: Path, limit: int) -> None:
    samples = make_samples(np.random.default_rng(3), json.loads(truth_file.read_text()))
    rows = rows_of(samples, 'bbox')
    # the best of each image
    metric = OVLVISMetric(str(truth_file), max_per_image=limit)
    expected = by_lvis(truth_file, rows_of(samples, 'bbox'), 'bbox', limit).results['AP']
    assert evaluate(metric, samples)['lvis/bbox_AP'] == pytest.approx(expected, rel=1e-12)
    # fixed AP: the best of each class over all images
    best = [
        row
        for i in IDS
        for row in sorted(
            (r for r in rows if r['category_id'] == i), key=lambda r: r['score'], reverse=True
        )[:limit]
    ]
    metric = OVLVISMetric(str(truth_file), max_per_image=None, max_per_class=limit)
    fixed = by_lvis(truth_file, best, 'bbox', -1).results['AP']
    assert evaluate(metric, samples)['lvis/bbox_AP'] == pytest.approx(fixed, rel=1e-12)
    assert fixed != pytest.approx(expected, abs=1e-3)
    theirs = evaluate(LVISFixedAPMetric(str(truth_file), topk=limit), samples)
    assert theirs['lvis_fixed_ap/AP'] == pytest.approx(fixed, rel=1e-12)


def test_more_than_300_of_an_image(tmp_path: Path) -> None:
    # a better box of another class for each of 350, then the right one
    truth = generated.lvis_truth(np.random.default_rng(0), images=1)
    box = [10.0, 10, 50, 50]
    truth['annotations'] = [
        dict(id=1, image_id=1, category_id=5, bbox=box, area=2500.0, segmentation=[[0.0] * 6])
    ]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(truth))
    corners = torch.tensor([[10.0, 10, 60, 60]]).repeat(351, 1)
    sample = dict(
        img_id=1,
        ori_shape=(SIDE, SIDE),
        pred_instances=dict(
            bboxes=corners,
            labels=torch.tensor([IDS.index(2)] * 350 + [IDS.index(5)]),
            scores=torch.linspace(1, 0.1, 351),
        ),
    )
    assert evaluate(OVLVISMetric(str(path)), [sample])['lvis/bbox_APr'] == 0
    fixed = OVLVISMetric(str(path), max_per_image=None, max_per_class=10000)
    assert evaluate(fixed, [sample])['lvis/bbox_APr'] == pytest.approx(1.0)


def test_minival(truth_file: Path, tmp_path: Path) -> None:
    truth = json.loads(truth_file.read_text())
    samples = make_samples(np.random.default_rng(4), truth)
    chosen = {1, 4, 5, 9, 12}
    listed = tmp_path / 'minival.txt'
    listed.write_text('\n'.join(map(str, sorted(chosen))))
    metric = OVLVISMetric(str(truth_file), image_ids=str(listed), max_per_class=6)
    result = evaluate(metric, samples)
    part = dict(
        truth,
        images=[i for i in truth['images'] if i['id'] in chosen],
        annotations=[a for a in truth['annotations'] if a['image_id'] in chosen],
    )
    path = tmp_path / 'part.json'
    path.write_text(json.dumps(part))
    other = OVLVISMetric(str(path), max_per_class=6)
    expected = evaluate(other, [s for s in samples if s['img_id'] in chosen])
    assert result == pytest.approx(expected, rel=1e-12) and expected['lvis/bbox_AP'] > 0.05
    listed.write_text('1 99')
    with pytest.raises(ValueError, match=r'1 of 2 ids of .*minival\.txt are not in .*\[99\]'):
        OVLVISMetric(str(truth_file), image_ids=str(listed))


def test_no_detections(truth_file: Path) -> None:
    truth = json.loads(truth_file.read_text())
    empty = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
    nothing = [
        dict(img_id=image['id'], ori_shape=(SIDE, SIDE), pred_instances=empty)
        for image in truth['images']
    ]
    result = evaluate(OVLVISMetric(str(truth_file)), nothing)
    # a detection that no image asks for: what lvis says about nothing
    image = next(i for i in truth['images'] if 12 not in i['neg_category_ids'])
    row = dict(image_id=image['id'], category_id=12, bbox=[1, 1, 2, 2], score=0.5)
    expected = by_lvis(truth_file, [row], 'bbox').results
    assert {i: result[f'lvis/bbox_{i}'] for i in ITEMS} == {i: expected[i] for i in ITEMS}
    truth['annotations'] = [a for a in truth['annotations'] if a['category_id'] != 6]
    truth_file.write_text(json.dumps(truth))
    result = evaluate(OVLVISMetric(str(truth_file)), nothing)
    assert (result['lvis/bbox_APc'], result['lvis/bbox_APr']) == (-1, 0)


def test_files_and_refusals(truth_file: Path, tmp_path: Path) -> None:
    samples = make_samples(np.random.default_rng(5), json.loads(truth_file.read_text()))
    metric = OVLVISMetric(
        str(truth_file),
        ['bbox', 'segm'],
        format_only=True,
        outfile_prefix=str(tmp_path / 'x/found'),
    )
    assert evaluate(metric, samples) == {}
    assert json.loads((tmp_path / 'x/found.bbox.json').read_text()) == rows_of(samples, 'bbox')
    rows = json.loads((tmp_path / 'x/found.segm.json').read_text())
    assert [r['segmentation']['counts'] for r in rows] == [
        r['segmentation']['counts'].decode() for r in rows_of(samples, 'segm')
    ]
    with pytest.raises(ValueError, match=r"not \['proposal'\]"):
        OVLVISMetric(str(truth_file), 'proposal')
    metric = OVLVISMetric(str(truth_file), 'segm')
    for sample in samples:
        del sample['pred_instances']['masks']
    with pytest.raises(ValueError, match='predictions have no masks'):
        evaluate(metric, samples)
    metric = OVLVISMetric(str(truth_file))
    metric.dataset_meta = dict(classes=META['classes'][1:])
    metric.process({}, samples)
    with pytest.raises(ValueError, match='has 6 categories, the dataset 5 classes'):
        metric.evaluate(len(samples))
