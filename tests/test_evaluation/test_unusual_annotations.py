# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Ids of any kind, files without crowds or masks, ignored objects: against a plain copy."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lvis import LVIS, LVISEval, LVISResults
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import generated_detections as generated
from regionclip_mmdet.datasets import OVCocoDataset
from regionclip_mmdet.datasets.checks import check_coco
from regionclip_mmdet.evaluation import (
    OVCocoAPMetric,
    OVLVISMetric,
    ProposalRecallMetric,
    RegionClassificationMetric,
)

KINDS: dict[str, Callable[[int], Any]] = {
    'from 0': lambda n: n,
    'text': lambda n: f'id {97 - n}',
    'floats': lambda n: n + 0.5,
    'negative': lambda n: -n - 1,
    'huge': lambda n: 10**25 + n,
    'mixed': lambda n: f'{n}' if n % 2 else 3 * n,
}
LVIS_NAMES, COCO_NAMES = generated.LVIS_NAMES, generated.COCO_NAMES
SPLIT = dict(base_classes=COCO_NAMES[:3], novel_classes=COCO_NAMES[3:])


def renumbered(truth: dict, number: Callable[[int], Any]) -> dict:
    """A copy with ids that are ``number`` of their places."""
    truth = copy.deepcopy(truth)
    new = {
        p: {e['id']: number(k) for k, e in enumerate(truth[p])} for p in ('images', 'categories')
    }
    for part in ('images', 'categories', 'annotations'):
        for place, entry in enumerate(truth[part]):
            entry['id'] = number(place)
    for ann in truth['annotations']:
        ann['image_id'] = new['images'][ann['image_id']]
        ann['category_id'] = new['categories'][ann['category_id']]
    for image in truth['images']:
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            if key in image:
                image[key] = [new['categories'][id] for id in image[key]]
    return truth


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def evaluate(metric: BaseMetric, samples: list[dict], meta: dict) -> dict[str, float]:
    metric.dataset_meta = meta
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def with_ids(samples: list[dict], truth: dict) -> list[dict]:
    pairs = zip(samples, truth['images'], strict=True)
    return [dict(sample, img_id=image['id']) for sample, image in pairs]


def silent(work: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


@pytest.mark.parametrize('kind', KINDS)
def test_ids_of_any_kind(tmp_path: Path, kind: str) -> None:
    # COCO: what pycocotools says of the same file with ids from 1 on
    truth = generated.coco_truth(np.random.default_rng(3))
    ids = [c['id'] for n in COCO_NAMES for c in truth['categories'] if c['name'] == n]
    samples = generated.detections(np.random.default_rng(5), truth, ids)
    plain, odd = (renumbered(truth, f) for f in (lambda n: n + 1, KINDS[kind]))
    api = silent(lambda: COCO(write(tmp_path / 'plain.json', plain)))
    own = [c['id'] for n in COCO_NAMES for c in plain['categories'] if c['name'] == n]
    rows = generated.rows_of(with_ids(samples, plain), own, 'bbox')
    check = silent(lambda: COCOeval(api, api.loadRes(rows), 'bbox'))
    silent(lambda: (check.evaluate(), check.accumulate(), check.summarize()))
    path = write(tmp_path / 'odd.json', odd)
    check_coco(odd, path, files=False)
    result = evaluate(OVCocoAPMetric(path), with_ids(samples, odd), dict(SPLIT, classes=COCO_NAMES))
    expected = dict(zip(('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'), check.stats))
    for name, value in expected.items():
        assert result[f'coco/bbox_{name}'] == pytest.approx(value, rel=1e-12)
    assert 0.1 < expected['mAP_50'] < 0.9
    recall = [
        evaluate(ProposalRecallMetric(str(tmp_path / f'{n}.json')), with_ids(samples, t), SPLIT)
        for n, t in (('plain', plain), ('odd', odd))
    ]
    assert recall[0] == recall[1] and 0.1 < recall[0]['proposals/AR@100'] < 1
    # LVIS
    truth = generated.lvis_truth(np.random.default_rng(1))
    samples = generated.detections(np.random.default_rng(2), truth, generated.LVIS_IDS)
    plain, odd = (renumbered(truth, f) for f in (lambda n: n + 1, KINDS[kind]))
    own = [c['id'] for c in plain['categories']]
    lvis = LVIS(write(tmp_path / 'plain.json', plain))
    rows = generated.rows_of(with_ids(samples, plain), own, 'bbox')
    check = LVISEval(lvis, LVISResults(lvis, rows), 'bbox')
    check.run()
    metric = OVLVISMetric(write(tmp_path / 'odd.json', odd))
    result = evaluate(metric, with_ids(samples, odd), dict(classes=LVIS_NAMES))
    for name in ('AP', 'AP50', 'APs', 'APr', 'APc', 'APf'):
        assert result[f'lvis/bbox_{name}'] == pytest.approx(check.results[name], rel=1e-12)
    assert 0.05 < check.results['AP'] < 0.9


def test_results_keep_the_files_ids(tmp_path: Path) -> None:
    truth = renumbered(generated.coco_truth(np.random.default_rng(3)), KINDS['text'])
    own = [c['id'] for n in COCO_NAMES for c in truth['categories'] if c['name'] == n]
    samples = generated.detections(np.random.default_rng(5), truth, own)
    metric = OVCocoAPMetric(
        write(tmp_path / 'a.json', truth), format_only=True, outfile_prefix=str(tmp_path / 'found')
    )
    assert evaluate(metric, samples, dict(SPLIT, classes=COCO_NAMES)) == {}
    rows = json.loads((tmp_path / 'found.bbox.json').read_text())
    assert {row['image_id'] for row in rows} == {i['id'] for i in truth['images']}
    assert {row['category_id'] for row in rows} <= set(own)


def by_hand_truth() -> dict[str, Any]:
    """One image, three objects of one name; the second one is ignored."""
    boxes = [[10, 10, 40, 40], [70, 10, 40, 40], [130, 10, 40, 40]]
    return dict(
        images=[
            dict(
                id=7,
                file_name='a.jpg',
                coco_url='x/a.jpg',
                height=200,
                width=200,
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        ],
        annotations=[
            dict(id=k, image_id=7, category_id=0, bbox=b, area=1600, ignore=int(k == 1))
            for k, b in enumerate(boxes)
        ],
        categories=[dict(id=0, name='cat', frequency='r')],
    )


def found(*boxes: list[float], size: int = 200) -> dict:
    """Detections of falling score."""
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    return dict(
        img_id=7,
        img_path='im/a.jpg',
        ori_shape=(size, size),
        pred_instances=dict(
            bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            scores=torch.linspace(0.9, 0.5, max(len(boxes), 1))[: len(boxes)],
            labels=torch.zeros(len(boxes), dtype=torch.long),
        ),
    )


def test_ignored_objects_have_one_rule(tmp_path: Path) -> None:
    """Not to be found, not wrong to be found, not trained on."""
    init_default_scope('mmdet')
    truth = by_hand_truth()
    path = write(tmp_path / 'a.json', truth)
    meta = dict(classes=('cat',), base_classes=('cat',), novel_classes=())
    first, ignored, last = (a['bbox'] for a in truth['annotations'])
    # right, ignored, wrong, right: precision 1 up to recall 1/2, then 2/3
    samples = [found(first, ignored, [10, 100, 40, 40], last)]
    expected = (51 * 1 + 50 * 2 / 3) / 101
    coco = evaluate(OVCocoAPMetric(path), samples, meta)
    assert coco['coco/bbox_all_ap50'] == pytest.approx(expected, rel=1e-12)
    lvis = evaluate(OVLVISMetric(path), samples, meta)
    assert lvis['lvis/bbox_AP50'] == pytest.approx(expected, rel=1e-12)
    # a second box of the ignored object is a wrong one, as lvis has it
    samples = [found(first, ignored, ignored, last)]
    for metric, name in ((OVCocoAPMetric, 'coco/bbox_all_ap50'), (OVLVISMetric, 'lvis/bbox_AP50')):
        assert evaluate(metric(path), samples, meta)[name] == pytest.approx(expected, rel=1e-12)
    # all but the ignored one: nothing is missed
    samples = [found(first, last)]
    assert evaluate(OVCocoAPMetric(path), samples, meta)['coco/bbox_mAP'] == pytest.approx(1)
    assert evaluate(ProposalRecallMetric(path), samples, meta)['proposals/AR@100'] == 1
    # loading, which training and the naming of boxes begin with
    data = OVCocoDataset(
        ann_file=path,
        data_prefix=dict(img='im'),
        metainfo=dict(classes=('cat',)),
        pipeline=[
            lambda item: dict(item, ori_shape=(200, 200), img_shape=(200, 200)),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='ProposalsFromGT'),
        ],
    )
    item = data[0]
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (first, last)]
    assert item['gt_bboxes'].tensor.tolist() == boxes and item['gt_ignore_flags'].sum() == 0
    assert np.asarray(item['proposals']).tolist() == boxes
    sample = dict(
        img_id=7,
        gt_instances=dict(labels=torch.tensor(item['gt_bboxes_labels'])),
        pred_instances=dict(
            region_inds=torch.arange(2), labels=torch.zeros(2).long(), scores=torch.ones(2)
        ),
    )
    assert evaluate(RegionClassificationMetric(), [sample], meta)['regions/top1'] == 1


def test_crowds_of_lvis_files_are_left_out(tmp_path: Path) -> None:
    truth = by_hand_truth()
    truth['annotations'][1].update(iscrowd=1, ignore=0)
    first, _, last = (a['bbox'] for a in truth['annotations'])
    metric = OVLVISMetric(write(tmp_path / 'a.json', truth))
    result = evaluate(metric, [found(first, last)], dict(classes=('cat',)))
    assert result['lvis/bbox_AP'] == pytest.approx(1)
    for ann in truth['annotations']:
        ann['iscrowd'] = 1
    metric = OVLVISMetric(write(tmp_path / 'a.json', truth))
    assert evaluate(metric, [found()], dict(classes=('cat',)))['lvis/bbox_AP'] == -1


def test_files_without_crowds_or_masks(tmp_path: Path) -> None:
    truth = generated.coco_truth(np.random.default_rng(3))
    for ann in truth['annotations']:
        ann['iscrowd'] = 0
    own = [c['id'] for n in COCO_NAMES for c in truth['categories'] if c['name'] == n]
    samples = generated.detections(np.random.default_rng(5), truth, own)
    meta = dict(SPLIT, classes=COCO_NAMES)
    expected = evaluate(OVCocoAPMetric(write(tmp_path / 'a.json', truth)), samples, meta)
    for ann, mask in zip(
        truth['annotations'], [None, [], 'x', [1, 2], {}, [[]]] * 99, strict=False
    ):
        del ann['iscrowd']
        ann['segmentation'] = mask
    del truth['annotations'][7]['segmentation']
    path = write(tmp_path / 'b.json', truth)
    assert evaluate(OVCocoAPMetric(path), samples, meta) == expected
    with pytest.raises(
        ValueError, match=r"b\.json, annotation 0 .*no segmentation\. metric='segm'"
    ):
        OVCocoAPMetric(path, ['bbox', 'segm'])
    with pytest.raises(ValueError, match=r"b\.json, annotation 0 .*metric='segm'"):
        OVLVISMetric(path, 'segm')


def test_lvis_files_of_ones_own(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    truth = by_hand_truth()
    first, _, last = (a['bbox'] for a in truth['annotations'])

    def result(**changes: Any) -> dict[str, float]:
        """Of a file whose only category has other fields."""
        content = copy.deepcopy(truth)
        content['categories'][0].update(changes)
        if content['categories'][0]['frequency'] is None:
            del content['categories'][0]['frequency']
        metric = OVLVISMetric(write(tmp_path / 'a.json', content))
        found_keys = evaluate(metric, [found(first, last)], dict(classes=('cat',)))
        names = metric.result_keys(dict(classes=('cat',)))
        assert [f'lvis/{name}' for name in names] == list(found_keys)
        return found_keys

    for count, letter in ((1, 'r'), (10, 'r'), (11, 'c'), (100, 'c'), (101, 'f')):
        values = result(frequency=None, image_count=count)
        assert {x for x in 'rcf' if values[f'lvis/bbox_AP{x}'] == 1} == {letter}
    values = result(frequency=None)
    assert values['lvis/bbox_AP'] == 1 and 'lvis/bbox_APr' not in values
    assert 'neither frequency nor image_count' in logged.text
    for wrong in ('x', 3, ['r']):
        with pytest.raises(ValueError, match=r"a\.json, category 0 .*frequency must be 'r', 'c'"):
            result(frequency=wrong)
    for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
        for value in (None, 3, [[1]]):
            content = copy.deepcopy(truth)
            content['images'][0][key] = value
            message = rf'a\.json, image 0 \(id 7\): (no )?{key}.*use OVCocoAPMetric'
            with pytest.raises(ValueError, match=message):
                OVLVISMetric(write(tmp_path / 'a.json', content))


def test_categories_of_an_lvis_file_in_another_order(tmp_path: Path) -> None:
    truth = generated.lvis_truth(np.random.default_rng(1))
    samples = generated.detections(np.random.default_rng(2), truth, generated.LVIS_IDS)
    metric = OVLVISMetric(write(tmp_path / 'a.json', truth))
    with pytest.raises(ValueError, match=r'a\.json has its categories in another order'):
        evaluate(metric, samples, dict(classes=LVIS_NAMES[::-1]))


@pytest.mark.parametrize('metric', [OVCocoAPMetric, OVLVISMetric])
def test_classes_that_are_a_text(tmp_path: Path, metric: type[BaseMetric]) -> None:
    path = write(tmp_path / 'a.json', by_hand_truth())
    with pytest.raises(ValueError, match=r"classes is the text 'cat', not a list of names"):
        evaluate(metric(path), [found()], dict(classes='cat'))
