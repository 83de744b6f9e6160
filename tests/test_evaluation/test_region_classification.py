# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region classification: accuracy and AP, counted box by box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS, MODELS

from helpers import tiny_models

NAMES = tuple('abcdefghij')
META = dict(
    classes=NAMES,
    base_classes=tuple('abcd'),
    novel_classes=tuple('efg'),
    frequencies=list('rrrcccffff'),
)
GROUPS = dict(base='abcd', novel='efg', rare='abc', common='def', frequent='ghij')


def sample(labels: list[int], scores: np.ndarray, order: np.ndarray | None = None) -> dict:
    """A data sample with all (box, name) pairs, in any order."""
    region, name = (axis.ravel() for axis in np.indices(scores.shape))
    order = np.arange(len(region)) if order is None else order
    return dict(
        img_path='x.jpg',
        gt_instances=dict(labels=torch.tensor(labels, dtype=torch.long)),
        pred_instances=dict(
            region_inds=torch.tensor(region[order]),
            labels=torch.tensor(name[order]),
            scores=torch.tensor(scores.ravel()[order], dtype=torch.float32),
        ),
    )


def evaluate(samples: list[dict], meta: dict = META, **settings: object) -> dict[str, float]:
    metric = METRICS.build(dict(type='RegionClassificationMetric', **settings))
    metric.dataset_meta = meta
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_against_counting() -> None:
    rng = np.random.default_rng(0)
    labels, tables, samples = [], [], []
    for _ in range(9):
        own = rng.integers(0, 9, rng.integers(0, 12)).tolist()  # no box of class j
        table = rng.random((len(own), 10)).astype(np.float32)
        table[np.arange(len(own)), own] += 0.3
        labels += own
        tables += list(table)
        samples.append(sample(own, table, rng.permutation(table.size)))
    result = evaluate(samples)

    def accuracy(names: str, top: int) -> float:
        hits = [
            label in sorted(range(10), key=lambda k: -row[k])[:top]
            for label, row in zip(labels, tables, strict=True)
            if NAMES[label] in names
        ]
        return sum(hits) / len(hits)

    def precision(label: int) -> float:
        """Walk down the ranking, note the precision at every hit."""
        ranking = sorted(range(len(labels)), key=lambda k: -tables[k][label])
        hits, values = 0, []
        for place, box in enumerate(ranking, start=1):
            if labels[box] == label:
                hits += 1
                values.append(hits / place)
        return sum(values) / len(values)

    for group, names in {'': 'abcdefghij', **GROUPS}.items():
        prefix = f'regions/{group}_' if group else 'regions/'
        for top in (1, 5):
            assert result[f'{prefix}top{top}'] == pytest.approx(accuracy(names, top))
        values = [precision(NAMES.index(n)) for n in names if n != 'j']
        assert result[f'{prefix}ap'] == pytest.approx(sum(values) / len(values))
    assert 0.2 < result['regions/top1'] < 0.8 and len(result) == 18
    assert set(evaluate(samples, average_precision=False)) == {
        key for key in result if not key.endswith('ap')
    }


def test_by_hand() -> None:
    meta = dict(classes=('x', 'y'))
    table = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    result = evaluate([sample([0, 1, 1], table)], meta)
    # x ranks its box first: 1. y ranks its boxes first and second: 1.
    assert result == {
        'regions/top1': pytest.approx(2 / 3),
        'regions/top5': 1.0,
        'regions/ap': pytest.approx(1.0),
    }
    result = evaluate([sample([1, 1, 0], table)], meta)
    # x: last of three. y: second and third.
    assert result['regions/ap'] == pytest.approx((1 / 3 + (1 / 2 + 2 / 3) / 2) / 2)


def test_missing_pairs_are_wrong(caplog: pytest.LogCaptureFixture) -> None:
    meta = dict(classes=('x', 'y'))
    partial = sample([0, 1], np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 2]))
    result = evaluate([partial], meta)
    assert (result['regions/top1'], result['regions/top5']) == (0.5, 0.5)
    assert result['regions/ap'] == pytest.approx(0.5)
    nothing = dict(partial, pred_instances={k: v[:0] for k, v in partial['pred_instances'].items()})
    assert evaluate([nothing], meta)['regions/top5'] == 0
    empty = sample([], np.zeros((0, 2)))
    assert evaluate([empty], meta)['regions/top1'] == evaluate([empty], meta)['regions/ap'] == -1


def test_refusals() -> None:
    good = sample([0], np.array([[0.9] + [0.1] * 9]))
    for bad in (
        dict(good, gt_instances={}),
        dict(good, pred_instances=dict(labels=torch.zeros(1), scores=torch.zeros(1))),
    ):
        with pytest.raises(KeyError, match=r'region_inds .* gt_instances .*; x\.jpg lacks them'):
            evaluate([bad])
    bad = dict(good, pred_instances=sample([0, 0], np.zeros((2, 10)))['pred_instances'])
    with pytest.raises(ValueError, match=r'x\.jpg has 1 annotated boxes, but there is a region 1'):
        evaluate([bad])


def test_of_a_detector() -> None:
    """The best name of each box is the arg max of the box head."""
    config = tiny_models.detector_config(localizer=None)
    config.roi_head.bbox_head.with_reg = False
    config.test_cfg.rcnn = dict(
        score_thr=0.0, nms=dict(type='nms', iou_threshold=1.0), max_per_img=-1, objectness='none'
    )
    model = tiny_models.fill(MODELS.build(config)).eval()
    boxes = [torch.tensor([[4.0, 4, 40, 36], [10, 20, 60, 60], [0, 0, 30, 60], [4, 4, 40, 36]])]
    samples = tiny_models.samples((64, 64), proposals=boxes)
    images = tiny_models.images((64, 64))
    with torch.no_grad():
        features = model.extract_feat(images)
        rois = torch.cat([torch.zeros(4, 1), boxes[0]], dim=1)
        logits = model.roi_head._bbox_forward(features, rois)['cls_score'][:, :-1]
        found = model.predict(images, samples, rescale=False)[0].pred_instances
    best, worst = logits.argmax(dim=1), logits.argmin(dim=1)
    meta = dict(classes=tiny_models.NAMES)
    for labels, expected in ((best, 1.0), (worst, 0.0)):
        truth = dict(gt_instances=dict(labels=labels), pred_instances=found.to_dict())
        assert evaluate([truth], meta)['regions/top1'] == expected
