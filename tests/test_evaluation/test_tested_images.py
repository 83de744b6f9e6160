# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Metrics evaluate the images that were tested: parts as parts, other images not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric

from helpers import generated_detections as generated
from regionclip_mmdet.evaluation import (
    OVCocoAPMetric,
    OVLVISMetric,
    ProposalRecallMetric,
    RegionClassificationMetric,
)
from regionclip_mmdet.evaluation.tested_images import ImageIdentity, check_tested, same_name

META = dict(classes=generated.LVIS_NAMES, base_classes=generated.LVIS_NAMES[:3], novel_classes=())
METRICS: dict[str, Callable[[str], BaseMetric]] = {
    'coco': OVCocoAPMetric,
    'lvis': OVLVISMetric,
    'proposals': ProposalRecallMetric,
}


def make_truth() -> dict[str, Any]:
    """A file that all metrics can read; images 1 to 14."""
    truth = generated.lvis_truth(np.random.default_rng(1))
    for image in truth['images']:
        image['file_name'] = f'val/{image["id"]}.jpg'
    return truth


def write(path: Path, truth: Any) -> str:
    path.write_text(json.dumps(truth))
    return str(path)


def samples_of(truth: dict) -> list[dict]:
    samples = generated.detections(np.random.default_rng(2), truth, generated.LVIS_IDS)
    return [dict(s, img_path=f'/data/val/{s["img_id"]}.jpg') for s in samples]


def evaluate(metric: BaseMetric, samples: list[dict], meta: Any = META) -> dict[str, float]:
    metric.dataset_meta = meta
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('kind', METRICS)
def test_a_part_is_evaluated_as_a_part(
    kind: str, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    truth = make_truth()
    samples = samples_of(truth)
    chosen = {2, 3, 7, 8, 11}
    part = dict(
        truth,
        images=[i for i in truth['images'] if i['id'] in chosen],
        annotations=[a for a in truth['annotations'] if a['image_id'] in chosen],
    )
    tested = [s for s in samples if s['img_id'] in chosen]
    expected = evaluate(METRICS[kind](write(tmp_path / 'part.json', part)), tested)
    assert 'images of' not in logged.text
    result = evaluate(METRICS[kind](write(tmp_path / 'whole.json', truth)), tested)
    assert result == pytest.approx(expected, rel=1e-12) and 0.05 < max(expected.values()) < 1.01
    assert f'5 of the 14 images of {tmp_path}/whole.json are tested' in logged.text
    whole = evaluate(METRICS[kind](str(tmp_path / 'whole.json')), samples)
    assert whole != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize('kind', METRICS)
def test_other_images_are_refused(kind: str, tmp_path: Path) -> None:
    truth = make_truth()
    samples = samples_of(truth)
    path = write(tmp_path / 'a.json', truth)

    def refuses(message: str, **changes: Any) -> None:
        metric = METRICS[kind](path)
        metric.dataset_meta = META
        with pytest.raises(ValueError, match=message):  # with the first batch
            metric.process({}, [dict(samples[0], **changes)])
        # of datasets put together only when the results are known
        metric.dataset_meta = dict(META, cumulative_sizes=[14])
        metric.process({}, [dict(samples[0], **changes), *samples[1:]])
        with pytest.raises(ValueError, match=message):
            metric.evaluate(14)

    refuses(r'not in .*a\.json, e\.g\. the id 99 \(the file has 1 and so on\)', img_id=99)
    refuses(r"not in .*a\.json, e\.g\. the id '1'", img_id='1')
    other = r'are others in .*a\.json, e\.g\. those of id 1'
    refuses(f'{other}: /data/val/x.jpg and val/1.jpg', img_path='/data/val/x.jpg')
    refuses(f'{other}: /data/train/1.jpg and val/1.jpg', img_path='/data/train/1.jpg')
    refuses(f'{other}: .* of 200 x 199 and 200 x 200', ori_shape=(200, 199))


def named_boxes(number: int) -> dict:
    """One annotated box that is named rightly."""
    return dict(
        img_id=number,
        gt_instances=dict(labels=torch.tensor([0])),
        pred_instances=dict(
            region_inds=torch.arange(1), labels=torch.zeros(1).long(), scores=torch.ones(1)
        ),
    )


@pytest.mark.parametrize('kind', [*METRICS, 'regions'])
def test_images_that_come_twice_are_refused(kind: str, tmp_path: Path) -> None:
    truth = make_truth()
    samples, metric = [named_boxes(i) for i in range(3)], RegionClassificationMetric()
    if kind in METRICS:
        samples, metric = samples_of(truth), METRICS[kind](write(tmp_path / 'a.json', truth))
    metric.dataset_meta = META
    metric.process({}, [*samples, samples[1]])
    name = type(metric).__name__
    with pytest.raises(ValueError, match=rf'{name}: 1 image ids come twice .*MultiDatasetsEval'):
        metric.evaluate(len(samples) + 1)
    metric.results.clear()
    # padding of several processes is cut off by the dataset's length
    metric.process({}, [*samples, samples[1]])
    assert metric.evaluate(len(samples))


@pytest.mark.parametrize('kind', [*METRICS, 'regions'])
def test_no_images(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / 'a.json', make_truth())
    metric = METRICS[kind](path) if kind in METRICS else RegionClassificationMetric()
    metric.dataset_meta = META
    with pytest.raises(ValueError, match='was tested'):
        metric.compute_metrics([])


def test_minival_of_a_part(tmp_path: Path) -> None:
    truth = make_truth()
    samples = samples_of(truth)
    (tmp_path / 'ids.txt').write_text('2 5 9')
    metric = OVLVISMetric(write(tmp_path / 'a.json', truth), image_ids=str(tmp_path / 'ids.txt'))
    both = evaluate(metric, samples[:6])  # 1 to 6: 2 and 5 count
    metric = OVLVISMetric(str(tmp_path / 'a.json'))
    assert both == evaluate(metric, [samples[1], samples[4]])
    metric = OVLVISMetric(str(tmp_path / 'a.json'), image_ids=str(tmp_path / 'ids.txt'))
    with pytest.raises(ValueError, match='no image that counts was tested'):
        evaluate(metric, samples[:1])


def test_boxes_of_the_samples_themselves(tmp_path: Path) -> None:
    """Without an annotation file a metric has the images of the samples, of each evaluation."""
    truth = generated.coco_truth(np.random.default_rng(3))
    ids = generated.COCO_IDS
    samples = generated.detections(np.random.default_rng(5), truth, ids)
    meta = dict(classes=generated.COCO_NAMES, base_classes=generated.COCO_NAMES)
    for sample in samples:
        rows = [a for a in truth['annotations'] if a['image_id'] == sample['img_id']]
        sample['instances'] = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=ids.index(a['category_id']),
                ignore_flag=a['iscrowd'],
            )
            for a in rows
            for x, y, w, h in (a['bbox'],)
        ]
    metric = OVCocoAPMetric()
    whole = evaluate(metric, samples, meta)
    # areas of masks differ from those of boxes, so sizes do
    expected = evaluate(OVCocoAPMetric(write(tmp_path / 'a.json', truth)), samples, meta)
    for key in ('coco/bbox_all_ap50', 'coco/bbox_base_ap', 'coco/bbox_mAP_75'):
        assert whole[key] == pytest.approx(expected[key], rel=1e-12)
    part = evaluate(metric, samples[:4], meta)
    assert part == evaluate(OVCocoAPMetric(), samples[:4], meta) != whole
    with pytest.raises(ValueError, match='come twice'):
        evaluate(metric, [samples[0], samples[0]], meta)


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('1.jpg', '/data/val/1.jpg', True),
        ('val/1.jpg', '/data/val/1.jpg', True),
        ('train/1.jpg', '/data/val/1.jpg', False),
        ('1.png', 'val/1.jpg', True),  # converted
        ('1.jpg', '11.jpg', False),
        ('COCO_val2014_000000000009.jpg', 'val2017/000000000009.jpg', True),
        ('./a//1.jpg', 'a\\1.jpg', True),
        ('.hidden', '.other', False),
        ('/', 'a.jpg', False),
    ],
)
def test_names(one: str, other: str, same: bool) -> None:
    assert same_name(one, other) == same_name(other, one) == same


def test_sizes_and_turned_images() -> None:
    known = {1: ImageIdentity(1, 'a.jpg', 40, 30), 2: ImageIdentity(2)}
    check_tested([ImageIdentity(1, '', 40, 30), ImageIdentity(2, 'x', 9, 9)], known, 'f', 'm', '')
    turned = [ImageIdentity(1, 'a.jpg', 30, 40)]
    check_tested(turned, known, 'f', 'm', '', turned=True)
    with pytest.raises(ValueError, match=r'a\.jpg of 30 x 40 and 40 x 30'):
        check_tested(turned, known, 'f', 'm', '')
