# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Soft-NMS against recorded outputs of the official code and against the plain full loop."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from regionclip_mmdet.models.post_processing.soft_nms import soft_nms

CASES = sorted((Path(__file__).parents[2] / 'data' / 'golden').glob('h_softnms_*.npz'))


def load(path: Path) -> tuple[dict, dict, tuple[Tensor, Tensor, Tensor]]:
    case = np.load(path)
    meta = json.loads(str(case['meta']))
    options = dict(
        method=meta['method'],
        sigma=meta['sigma'],
        iou_threshold=meta['iou_threshold'],
        min_score=meta['prune'],
    )
    inputs = tuple(torch.from_numpy(case[key]) for key in ('boxes', 'scores', 'classes'))
    return dict(case), options, inputs


def full_loop(
    boxes: Tensor, scores: Tensor, labels: Tensor, min_score: float = 0.001
) -> tuple[list[int], list[float]]:
    """Gaussian soft-NMS, all boxes decayed at every pick, in double precision."""
    boxes, scores = boxes.double(), scores.double().clone()
    alive = torch.ones(len(boxes), dtype=torch.bool)
    keep, kept_scores = [], []
    while alive.any():
        top = int(torch.where(alive, scores, -1).argmax())
        keep.append(top)
        kept_scores.append(float(scores[top]))
        same = labels == labels[top]
        iou = box_iou(boxes, boxes[top : top + 1])[:, 0] * same
        scores *= torch.exp(-(iou**2) / 0.5)
        alive[top] = False
        alive &= scores > min_score
    return keep, kept_scores


def random_input(count: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    size = 10 + torch.rand(count, 2, generator=generator) * 40
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return torch.cat([corner, corner + size], dim=1), scores, labels


def test_all_cases_are_here() -> None:
    assert len(CASES) == 11


@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    case, options, inputs = load(path)
    keep, scores = soft_nms(*inputs, **options)
    assert set(keep.tolist()) == set(case['keep'].tolist())
    assert np.abs(scores.numpy() - case['keep_scores']).max() < 1e-5
    # Order may differ only where scores agree to 1e-6.
    for place in np.flatnonzero(keep.numpy() != case['keep']):
        official = case['keep_scores'][case['keep'] == int(keep[place])]
        assert abs(official[0] - case['keep_scores'][place]) < 1e-6
    assert (scores[1:] <= scores[:-1]).all()


def test_golden_class_by_class() -> None:
    path = next(path for path in CASES if 'highclass' in path.stem)
    case, options, inputs = load(path)
    keep, scores = soft_nms(*inputs, **options, class_offset='exact')
    assert np.abs(scores.numpy() - case['exact_scores'][keep.numpy()]).max() < 1e-5
    rounded_keep, rounded = soft_nms(*inputs, **options, class_offset='float32')
    by_index = dict(zip(keep.tolist(), scores.tolist()))
    gaps = [abs(by_index.get(i, 0) - s) for i, s in zip(rounded_keep.tolist(), rounded.tolist())]
    assert max(gaps) > 0.01


@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize('limit', [1, 17])
def test_stopping_early_gives_the_first_picks(path: Path, limit: int) -> None:
    _, options, inputs = load(path)
    keep, scores = soft_nms(*inputs, **options)
    few, few_scores = soft_nms(*inputs, **options, max_num=limit)
    assert torch.equal(few, keep[:limit]) and torch.equal(few_scores, scores[:limit])


@pytest.mark.parametrize('class_offset', ['float32', 'exact'])
def test_equals_the_full_loop(class_offset: str) -> None:
    inputs = random_input(150, 4, seed=3)
    expected, expected_scores = full_loop(*inputs, min_score=0.05)
    assert len(expected) < 150
    keep, scores = soft_nms(*inputs, min_score=0.05, class_offset=class_offset)
    assert keep.tolist() == expected
    torch.testing.assert_close(
        scores.double(), torch.tensor(expected_scores).double(), atol=1e-5, rtol=0
    )


def test_negative_coordinates_imitate_the_offset_too() -> None:
    # Class 1 moves right by 10 + 1: [-8, 3] becomes [3, 14] and overlaps class 0 of the offset.
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [-8.0, -11.0, 3.0, -1.0]])
    labels = torch.tensor([0, 1])
    _, official = soft_nms(boxes, torch.tensor([0.9, 0.8]), labels)
    iou = 7 * 10 / (100 + 110 - 70)
    assert official[1].item() == pytest.approx(0.8 * math.exp(-(iou**2) / 0.5), abs=1e-6)
    _, exact = soft_nms(boxes, torch.tensor([0.9, 0.8]), labels, class_offset='exact')
    assert exact[1].item() == pytest.approx(0.8)


def test_decays_by_hand() -> None:
    # Two halves of the first box: IoU 0.5 with it, 0 with each other.
    boxes = torch.tensor([[0.0, 0, 8, 4], [0, 0, 4, 4], [4, 0, 8, 4], [0, 0, 8, 4]])
    scores, labels = torch.tensor([0.9, 0.8, 0.6, 0.7]), torch.tensor([2, 2, 2, 5])
    keep, out = soft_nms(boxes, scores, labels, method='gaussian', sigma=0.5)
    factor = math.exp(-0.5)
    assert keep.tolist() == [0, 3, 1, 2]
    assert out.tolist() == pytest.approx([0.9, 0.7, 0.8 * factor, 0.6 * factor])
    # Equality: linear leaves it alone, hard suppresses.
    assert soft_nms(boxes, scores, labels, method='linear')[1].tolist() == pytest.approx(
        [0.9, 0.8, 0.7, 0.6]
    )
    assert soft_nms(boxes, scores, labels, method='hard')[0].tolist() == [0, 3]
    linear = soft_nms(boxes, scores, labels, method='linear', iou_threshold=0.4)
    assert linear[0].tolist() == [0, 3, 1, 2]
    assert linear[1].tolist() == pytest.approx([0.9, 0.7, 0.4, 0.3])


def test_first_pick_escapes_pruning() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4]])
    keep, scores = soft_nms(boxes, torch.tensor([1e-4, 9e-4]), torch.tensor([0, 1]))
    assert keep.tolist() == [1] and scores.tolist() == pytest.approx([9e-4])


def test_equal_scores_go_by_index_across_classes() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]])
    keep, _ = soft_nms(boxes, torch.full((3,), 0.5), torch.tensor([2, 0, 1]))
    assert keep.tolist() == [0, 1, 2]


def test_empty_and_wrong_input() -> None:
    keep, scores = soft_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert keep.shape == scores.shape == (0,) and keep.dtype == torch.long
    box, label = torch.ones(1, 4), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match='do not match'):
        soft_nms(box, torch.ones(2), label)
    with pytest.raises(ValueError, match='finite'):
        soft_nms(box, torch.tensor([float('nan')]), label)
    with pytest.raises(ValueError, match='method'):
        soft_nms(box, torch.ones(1), label, method='soft')
