# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Recall of proposals: matching, base and novel objects, sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from torchvision.ops import box_iou

from regionclip_mmdet.evaluation.proposal_recall import match_proposals


def test_match_proposals_is_one_to_one() -> None:
    gt = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], dtype=np.float32)
    found = np.array([[0, 0, 10, 9]], dtype=np.float32)
    np.testing.assert_allclose(match_proposals(gt, found), [0.9, 0.0], rtol=1e-6)
    np.testing.assert_allclose(match_proposals(gt, gt[::-1]), [1, 1])
    assert match_proposals(gt[:0], found).shape == (0,)


def greedy(truth: torch.Tensor, found: torch.Tensor) -> list[float]:
    """The best pair of all, then of what is left, and so on."""
    pairs = sorted(
        (
            (float(box_iou(truth[i : i + 1], found[j : j + 1])), i, j)
            for i in range(len(truth))
            for j in range(len(found))
        ),
        reverse=True,
    )
    best, used = [0.0] * len(truth), (set(), set())
    for iou, i, j in pairs:
        if i not in used[0] and j not in used[1]:
            best[i] = iou
            used[0].add(i)
            used[1].add(j)
    return best


def test_groups_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ('cat', 'dog', 'cow', 'neither')
    annotations, samples, truth = [], [], []
    for image in range(8):
        sides = rng.choice([20.0, 60, 130], (7, 1)) * rng.uniform(0.9, 1.1, (7, 2))
        corner = rng.uniform(0, 100, (7, 2))
        for place, side in zip(corner, sides, strict=True):
            label = int(rng.integers(0, 4))
            crowd = int(rng.random() < 0.15)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=10 * label + 5,
                    bbox=[*place, *side],
                    area=float(side.prod()),
                    iscrowd=crowd,
                )
            )
            if not crowd:
                box = torch.tensor([*place, *(place + side)], dtype=torch.float32)
                truth.append((image, names[label], float(side.prod()), box))
        found = torch.tensor(np.concatenate([corner, corner + sides], axis=1), dtype=torch.float32)
        found = found.repeat(2, 1) + torch.tensor(rng.uniform(-7, 7, (14, 4)), dtype=torch.float32)
        scores = torch.tensor(rng.random(14))
        samples.append(dict(img_id=image, pred_instances=dict(bboxes=found, scores=scores)))
    path = tmp_path / 'truth.json'
    content = dict(
        images=[dict(id=i) for i in range(8)],
        annotations=annotations,
        categories=[dict(id=10 * k + 5, name=n) for k, n in enumerate(names)],
    )
    path.write_text(json.dumps(content))
    metric = METRICS.build(
        dict(type='ProposalRecallMetric', ann_file=str(path), proposal_nums=(3, 100))
    )
    metric.dataset_meta = dict(classes=names, base_classes=('cat', 'cow'), novel_classes=('dog',))
    metric.process({}, samples)
    result = metric.evaluate(8)
    groups = {
        '': lambda name, area: True,
        'base_': lambda name, area: name in ('cat', 'cow'),
        'novel_': lambda name, area: name == 'dog',
        'small_': lambda name, area: area < 1024,
        'medium_': lambda name, area: 1024 <= area < 9216,
        'large_': lambda name, area: area >= 9216,
    }
    for prefix, belongs in groups.items():
        for number in (3, 100):
            ious = []
            for sample in samples:
                boxes = [b for i, n, a, b in truth if i == sample['img_id'] and belongs(n, a)]
                found = sample['pred_instances']
                order = found['scores'].argsort(descending=True)[:number]
                boxes = torch.stack(boxes) if boxes else torch.zeros(0, 4)
                ious += greedy(boxes, found['bboxes'][order])
            hits = [[iou >= t for t in np.linspace(0.5, 0.95, 10)] for iou in ious]
            assert result[f'proposals/{prefix}AR@{number}'] == pytest.approx(np.mean(hits))
            recall = np.mean([row[0] for row in hits])
            assert result[f'proposals/{prefix}R50@{number}'] == pytest.approx(recall)
            assert 0.05 < recall
    assert len(result) == 6 * 2 * 2
    assert result['proposals/AR@3'] < result['proposals/AR@100']


def test_groups_without_objects_or_names(tmp_path: Path) -> None:
    path = tmp_path / 'truth.json'
    content = dict(
        images=[dict(id=1)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 9, 9], area=81)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
    )
    path.write_text(json.dumps(content))
    metric = METRICS.build(dict(type='ProposalRecallMetric', ann_file=str(path)))
    metric.dataset_meta = dict(base_classes=(), novel_classes=('dog',))
    boxes = torch.tensor([[0.0, 0, 9, 9]])
    metric.process({}, [dict(img_id=1, pred_instances=dict(bboxes=boxes, scores=torch.ones(1)))])
    result = metric.evaluate(1)
    assert not any('base' in key for key in result)
    for number in (100, 300, 1000):
        assert result[f'proposals/R50@{number}'] == result[f'proposals/small_AR@{number}'] == 1
        assert (
            result[f'proposals/novel_AR@{number}'] == result[f'proposals/large_R50@{number}'] == -1
        )
