# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Fusion with objectness, thresholding and class-wise suppression, against brute force."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from regionclip_mmdet.models.post_processing import (
    detections,
    fuse_objectness,
    select_detections,
)


class TestFuseObjectness:
    PROBS = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]])
    LOGITS = torch.tensor([4.0, -2.0, 0.0])

    def test_none(self) -> None:
        assert torch.equal(fuse_objectness(self.PROBS, None, 'none'), self.PROBS)
        assert torch.equal(fuse_objectness(self.PROBS, self.LOGITS, 'none'), self.PROBS)

    def test_official_form_takes_the_raw_logit(self) -> None:
        fused = fuse_objectness(self.PROBS, self.LOGITS, 'logit')
        torch.testing.assert_close(fused[0], torch.tensor([2.0, 1.2, 0.8]).sqrt())
        assert fused[0, 0] > 1
        assert fused[1].isnan().all()
        assert (fused[2] == 0).all()

    def test_sigmoid_form(self) -> None:
        fused = fuse_objectness(self.PROBS, self.LOGITS, 'sigmoid')
        weights = 1 / (1 + torch.tensor([-4.0, 2.0, 0.0]).exp())
        torch.testing.assert_close(fused**2, self.PROBS * weights[:, None])

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="one of .'none', 'logit', 'sigmoid'., not 'product'"):
            fuse_objectness(self.PROBS, self.LOGITS, 'product')
        with pytest.raises(ValueError, match='these have none. Use proposals of an RPNLocalizer'):
            fuse_objectness(self.PROBS, None, 'sigmoid')


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inter / (area - inter)


def brute_force(
    boxes: Tensor, scores: Tensor, score_thr: float, iou_thr: float, limit: int
) -> list[tuple[float, int, int]]:
    """(score, label, region), best first."""
    candidates = [
        (float(scores[r, k]), k, r)
        for r in range(len(boxes))
        for k in range(scores.shape[1])
        if bool(scores[r].isfinite().all()) and bool(boxes[r].isfinite().all())
        if float(scores[r, k]) > score_thr
    ]
    kept: list[tuple[float, int, int]] = []
    for candidate in sorted(candidates, reverse=True):
        _, label, region = candidate
        rivals = [r for _, other, r in kept if other == label]
        if all(iou(boxes[region].tolist(), boxes[r].tolist()) <= iou_thr for r in rivals):
            kept.append(candidate)
    return kept[:limit]


def scene(seed: int, regions: int = 60, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = 60 * torch.rand(regions, 2, generator=generator)
    sides = 10 + 40 * torch.rand(regions, 2, generator=generator)
    boxes = torch.cat([corners, corners + sides], 1)
    return boxes, torch.rand(regions, classes, generator=generator)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(('score_thr', 'iou_thr', 'limit'), [(0.3, 0.5, 20), (0.0, 0.3, 1000)])
def test_equals_brute_force(seed: int, score_thr: float, iou_thr: float, limit: int) -> None:
    boxes, scores = scene(seed)
    scores[3, 1] = float('nan')
    scores[4, 0] = float('inf')
    boxes[5, 2] = float('inf')
    cfg = dict(score_thr=score_thr, nms=dict(type='nms', iou_threshold=iou_thr), max_per_img=limit)
    found = select_detections(boxes, scores, cfg)
    expected = brute_force(boxes, scores, score_thr, iou_thr, limit)
    assert len(expected) > 15 and len(found) == len(expected)
    assert found.region_inds.tolist() == [region for *_, region in expected]
    assert found.labels.tolist() == [label for _, label, _ in expected]
    assert found.scores.tolist() == pytest.approx([score for score, *_ in expected])
    assert torch.equal(found.bboxes, boxes[found.region_inds])


def test_the_threshold_is_strict_and_a_region_may_have_several_classes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    cfg = dict(score_thr=0.25, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10)
    found = select_detections(boxes, torch.tensor([[0.25, 0.5, 0.75]]), cfg)
    assert found.labels.tolist() == [2, 1] and found.region_inds.tolist() == [0, 0]


@pytest.mark.parametrize('limit', [-1, 0])
@pytest.mark.parametrize('kind', ['nms', 'global_soft_nms'])
def test_no_limit(limit: int, kind: str) -> None:
    boxes, scores = scene(0)
    cfg = dict(score_thr=0.5, nms=dict(type=kind, iou_threshold=1.0), max_per_img=limit)
    if kind == 'global_soft_nms':
        cfg['nms'].update(method='linear', min_score=0.0)
    assert len(select_detections(boxes, scores, cfg)) == int((scores > 0.5).sum())


def test_soft_nms_decays_scores() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]])
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    nms = dict(type='global_soft_nms', method='linear', iou_threshold=0.3, min_score=0.001)
    found = select_detections(boxes, scores, dict(score_thr=0.0, nms=nms, max_per_img=10))
    assert found.region_inds.tolist() == [0, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.5])
    found = select_detections(boxes, scores, dict(score_thr=0.0, nms=nms, max_per_img=2))
    assert found.region_inds.tolist() == [0, 2]


@pytest.mark.parametrize('kind', ['nms', 'global_soft_nms'])
@pytest.mark.parametrize('regions', [0, 4])
def test_nothing_passes(kind: str, regions: int) -> None:
    boxes, scores = scene(0, regions)
    cfg = dict(score_thr=2.0, nms=dict(type=kind, iou_threshold=0.5), max_per_img=10)
    found = select_detections(boxes, scores, cfg)
    assert len(found) == 0 and found.bboxes.shape == (0, 4)
    assert found.labels.dtype == found.region_inds.dtype == torch.int64
    assert cfg['nms']['type'] == kind  # the config is not changed


def random_candidates(count: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 1200
    sides = 4 + torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat([corners, corners + sides], 1)
    labels = torch.randint(classes, (count,), generator=generator)
    return boxes, torch.rand(count, generator=generator), labels


@pytest.mark.parametrize('block', [64, 10**9])
def test_class_wise_nms_equals_torchvisions_nms_per_class(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detections, 'BLOCK', block)
    boxes, scores, labels = random_candidates(4000, 3)
    labels = labels * 600  # high labels, where float32 offsets round to an eighth of a pixel
    keep = detections.class_wise_nms(boxes, scores, labels, 0.5)
    expected = []
    for label in (0, 600, 1200):
        rows = (labels == label).nonzero()[:, 0]
        expected.append(rows[torchvision.ops.nms(boxes[rows], scores[rows], 0.5)])
    expected = torch.cat(expected)
    expected = expected[scores[expected].argsort(descending=True, stable=True)]
    assert 1000 < len(expected) < 3990
    assert torch.equal(keep, expected)
    few = detections.class_wise_nms(boxes, scores, labels, 0.5, max_num=300)
    assert torch.equal(few, expected[:300])


def test_class_wise_nms_of_nothing() -> None:
    empty = torch.zeros(0)
    assert len(detections.class_wise_nms(torch.zeros(0, 4), empty, empty.long(), 0.5)) == 0


def test_class_wise_nms_depends_on_better_boxes_of_the_class_only() -> None:
    """At label 1200 an IoU a hair above the threshold; float32 steps would round it away."""
    boxes = torch.tensor([[0.1, 0.1, 3.1, 3.1], [0.1, 0.1, 3.1, 1.6001], [9.0, 9, 1300, 700]])
    scores, labels = torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1200, 1200, 3])
    for size in (2, 3):
        keep = detections.class_wise_nms(boxes[:size], scores[:size], labels[:size], 0.5)
        assert keep.tolist() == [0, 2][: size - 1]


class TestFewOfManyCandidates:
    NMS = (
        dict(type='nms', iou_threshold=0.3),
        dict(type='global_soft_nms', method='gaussian', min_score=0.001),
        dict(type='global_soft_nms', method='gaussian', class_offset='exact'),
        dict(type='global_soft_nms', method='linear', iou_threshold=0.2),
        dict(type='global_soft_nms', method='hard', iou_threshold=0.2),
    )

    @pytest.mark.parametrize('nms', NMS)
    @pytest.mark.parametrize('sample', [64, 1 << 17])
    def test_detections_are_identical(
        self, nms: dict, sample: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_at = []
        select = detections._select

        def counted(boxes, scores, is_candidate, cfg, extent=None):
            looked_at.append(int(is_candidate.sum()))
            return select(boxes, scores, is_candidate, cfg, extent)

        monkeypatch.setattr(detections, '_select', counted)
        for seed in range(6):
            boxes, scores = scene(seed, classes=40)
            # peaked, as probabilities are, and with many equal ones
            scores = (scores**6 * 200).round() / 200
            scores[7, 3] = float('nan')
            for limit in (1, 10, 60):
                cfg = dict(score_thr=-1.0, nms=nms, max_per_img=limit)
                monkeypatch.setattr(detections, 'FEW', 10**9)
                expected = select_detections(boxes, scores, cfg)
                monkeypatch.setattr(detections, 'FEW', 4 * limit)
                monkeypatch.setattr(detections, 'SAMPLE', sample)
                looked_at.clear()
                found = select_detections(boxes, scores, cfg)
                assert len(found) == limit
                for key in ('region_inds', 'labels', 'scores', 'bboxes'):
                    assert torch.equal(found[key], expected[key]), (key, seed, limit)
                if sample > 64 and limit == 10:
                    assert looked_at[-1] < 1500  # of 2360

    def test_a_far_box_that_is_not_looked_at_moves_the_classes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rounding of float32 offsets depends on all candidates' coordinates."""
        boxes, scores = scene(1, classes=40)
        boxes[0, 2:] = 3.0e6
        scores[0] = 0.001
        cfg = dict(score_thr=0.0, nms=dict(type='global_soft_nms'), max_per_img=30)
        expected = select_detections(boxes, scores, cfg)
        near = boxes.clone()
        near[0, 2:] = 90.0
        assert not torch.equal(select_detections(near, scores, cfg).scores, expected.scores)
        monkeypatch.setattr(detections, 'FEW', 200)
        found = select_detections(boxes, scores, cfg)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.labels, expected.labels)

    def test_nms_of_mmcv_sees_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        boxes, scores = scene(2, classes=40)
        nms = dict(type='nms', iou_threshold=0.5, class_agnostic=True)
        cfg = dict(score_thr=0.0, nms=nms, max_per_img=5)
        expected = select_detections(boxes, scores, cfg)
        monkeypatch.setattr(detections, 'FEW', 20)
        monkeypatch.setattr(detections, '_select_from_best', None)
        assert torch.equal(select_detections(boxes, scores, cfg).scores, expected.scores)
