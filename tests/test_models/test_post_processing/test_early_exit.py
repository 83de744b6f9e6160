# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Leaving regions out changes no detection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.post_processing import (
    detect_until_final,
    first_chunk,
    fuse_objectness,
    select_detections,
)

HARD = dict(type='nms', iou_threshold=0.5)
NMS = {
    'hard': HARD,
    'gaussian': dict(type='global_soft_nms', method='gaussian', min_score=0.001),
    'gaussian exact': dict(type='global_soft_nms', method='gaussian', class_offset='exact'),
    'linear': dict(type='global_soft_nms', method='linear', iou_threshold=0.3),
    'hard soft': dict(type='global_soft_nms', method='hard', iou_threshold=0.4),
}
EXTENT = 100.0


class Scene:
    """Regions with scores of their own, and a count of those that were looked at."""

    def __init__(self, seed: int, regions: int = 60, classes: int = 4, spread: float = 4.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        corners = torch.rand(regions, 2, generator=generator) * 60
        sides = 5 + torch.rand(regions, 2, generator=generator) * 50
        self.boxes = torch.cat([corners, corners + sides], 1).clamp_max(EXTENT)
        logits = torch.randn(regions, classes + 1, generator=generator) * 3
        self.probs = logits.softmax(-1)
        self.objectness = (torch.rand(regions, generator=generator) - 0.3) * spread
        self.scored: list[int] = []

    def scores(self, mode: str) -> Tensor:
        return fuse_objectness(self.probs, self.objectness, mode)[:, :-1]

    def scorer(self, mode: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        scores = self.scores(mode)

        def score(rows: Tensor) -> tuple[Tensor, Tensor]:
            self.scored.extend(rows.tolist())
            return self.boxes[rows], scores[rows]

        return score

    def weight(self, mode: str) -> Tensor:
        return self.objectness if mode == 'logit' else self.objectness.sigmoid()


def both_ways(scene: Scene, mode: str, cfg: dict, chunk: int) -> tuple[InstanceData, InstanceData]:
    expected = select_detections(scene.boxes, scene.scores(mode), cfg)
    actual, _ = detect_until_final(scene.scorer(mode), scene.weight(mode), EXTENT, cfg, chunk)
    return expected, actual


def assert_identical(expected: InstanceData, actual: InstanceData) -> None:
    assert len(expected) == len(actual)
    for key in ('region_inds', 'labels', 'scores', 'bboxes'):
        assert torch.equal(expected[key], actual[key]), key


@pytest.mark.parametrize('mode', ['logit', 'sigmoid'])
@pytest.mark.parametrize('nms', NMS)
@pytest.mark.parametrize('max_per_img', [1, 5, 20, 1000, -1])
@pytest.mark.parametrize('score_thr', [0.0, 0.3])
def test_detections_are_identical(mode: str, nms: str, max_per_img: int, score_thr: float) -> None:
    cfg = dict(score_thr=score_thr, nms=NMS[nms], max_per_img=max_per_img)
    found = 0
    for seed in range(12):
        for chunk in (1, 7, 40):
            expected, actual = both_ways(Scene(seed), mode, cfg, chunk)
            assert_identical(expected, actual)
            found += len(expected)
    assert found > 30


@pytest.mark.parametrize('nms', ['hard', 'gaussian', 'gaussian exact'])
def test_fewer_regions_are_scored(nms: str) -> None:
    cfg = dict(score_thr=0.001, nms=NMS[nms], max_per_img=3)
    counts = []
    for seed in range(10):
        scene = Scene(seed, spread=8.0)
        scene.boxes[:, 2] = EXTENT  # the far border is reached by everything
        assert_identical(*both_ways(scene, 'logit', cfg, 4))
        assert len(set(scene.scored)) == len(scene.scored)
        counts.append(len(scene.scored))
        not_negative = int((scene.objectness >= 0).sum())
        assert counts[-1] <= not_negative
    assert sum(counts) < 200  # of 600, of which about 420 are not negative


def test_negative_logits_are_never_scored_and_indices_are_those_of_all_regions() -> None:
    scene = Scene(0)
    scene.objectness[::2] = -1.0
    cfg = dict(score_thr=0.0, nms=HARD, max_per_img=1000)
    expected, actual = both_ways(scene, 'logit', cfg, 8)
    assert_identical(expected, actual)
    assert all(row % 2 for row in scene.scored)
    assert actual.region_inds.remainder(2).all()


def test_threshold_ends_the_search() -> None:
    scene = Scene(1)
    scene.objectness = torch.linspace(4, 0.01, 60)
    cfg = dict(score_thr=1.0, nms=HARD, max_per_img=1000)
    assert_identical(*both_ways(scene, 'logit', cfg, 10))
    # sqrt(w) > 1 holds for the first 46; chunks of 10, 20 and 40 end behind row 30 or 60
    scene.scored.clear()
    scene.objectness = torch.cat([torch.full((10,), 4.0), torch.full((50,), 0.9)])
    assert_identical(*both_ways(scene, 'logit', cfg, 10))
    assert len(scene.scored) == 10


def test_a_bound_equal_to_the_last_score_is_not_enough() -> None:
    """Two regions tie with the k-th score; the first by index is the one to be kept."""
    scene = Scene(0, regions=3, classes=1)
    scene.boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    # region 2 is looked at first; region 0 ties with it and comes first in the full selection
    scene.probs = torch.tensor([[1.0, 0], [0.1, 0.9], [0.5, 0.5]])
    scene.objectness = torch.tensor([2.0, 1.0, 4.0])
    cfg = dict(score_thr=0.0, nms=HARD, max_per_img=1)
    expected, actual = both_ways(scene, 'logit', cfg, 1)
    assert expected.region_inds.tolist() == [0]
    assert_identical(expected, actual)


def test_float32_offsets_wait_for_the_far_border() -> None:
    scene = Scene(3, spread=8.0)
    cfg = dict(score_thr=0.001, nms=NMS['gaussian'], max_per_img=2)
    scene.boxes = scene.boxes.clamp_max(EXTENT - 1)
    assert_identical(*both_ways(scene, 'logit', cfg, 4))
    assert len(scene.scored) == int((scene.objectness >= 0).sum())
    scene.scored.clear()
    scene.boxes[scene.objectness.argmax(), 3] = EXTENT
    assert_identical(*both_ways(scene, 'logit', cfg, 4))
    assert len(scene.scored) < 30


def test_nothing_to_score() -> None:
    cfg = dict(score_thr=0.0, nms=HARD, max_per_img=10)
    for objectness in (torch.zeros(0), torch.full((60,), -1.0), torch.full((60,), torch.nan)):
        scene = Scene(0, regions=len(objectness))
        scene.objectness = objectness
        expected, actual = both_ways(scene, 'logit', cfg, 4)
        assert len(actual) == len(expected) == 0 and not scene.scored


def test_further_outputs_are_handed_on_by_region() -> None:
    scene = Scene(0)
    score = scene.scorer('logit')
    cfg = dict(score_thr=0.0, nms=HARD, max_per_img=2)
    found, outputs = detect_until_final(
        lambda rows: (*score(rows), scene.probs[rows]), scene.objectness, EXTENT, cfg, 4
    )
    assert torch.equal(outputs[2][found.region_inds], scene.probs[found.region_inds])
    unscored = torch.ones(60, dtype=torch.bool)
    unscored[scene.scored] = False
    assert outputs[2][unscored].isnan().all() and unscored.any()


@pytest.mark.parametrize('score_thr', [-1.0, 0.0, 0.5])
def test_regions_that_cannot_pass_the_threshold_are_never_scored(score_thr: float) -> None:
    scene = Scene(2)
    scene.objectness[:3] = torch.tensor([0.0, float('inf'), float('nan')])
    cfg = dict(score_thr=score_thr, nms=HARD, max_per_img=1000)
    assert_identical(*both_ways(scene, 'logit', cfg, 100))
    possible = (scene.objectness.sqrt() > score_thr) & scene.objectness.isfinite()
    assert set(scene.scored) == set(possible.nonzero()[:, 0].tolist())
    assert (0 in scene.scored) == (score_thr < 0)


def test_equal_objectness_and_few_levels_of_scores() -> None:
    """Many ties, among bounds, among scores and between both."""
    for seed in range(30):
        scene = Scene(seed)
        scene.probs = (scene.probs * 4).round() / 4
        scene.objectness = (scene.objectness * 2).round() / 2
        for max_per_img in (1, 4, 12):
            for nms in ('hard', 'gaussian exact'):
                cfg = dict(score_thr=0.0, nms=NMS[nms], max_per_img=max_per_img)
                assert_identical(*both_ways(scene, 'logit', cfg, 3))


def test_later_chunks_are_no_longer_than_the_scores_suggest() -> None:
    scene = Scene(0, classes=1)
    scene.probs = torch.tensor([0.5, 0.5]).repeat(60, 1)
    scene.objectness = torch.linspace(6, 0.1, 60)  # falls by 0.1 from one to the next
    scene.boxes = torch.arange(60)[:, None] * 20.0 + torch.tensor([0.0, 0, 10, 10])
    cfg = dict(score_thr=0.0, nms=HARD, max_per_img=16)
    assert_identical(*both_ways(scene, 'logit', cfg, 16))
    # p * w of the 16th is 2.25, so regions down to w = 2.25 count: 38; 16 + min(22, 32) are scored
    assert len(scene.scored) == 38


class TestFirstChunk:
    CFG = dict(objectness='logit', nms=HARD)

    def test_on_by_default(self) -> None:
        assert first_chunk(self.CFG) == first_chunk(dict(self.CFG, early_exit=True)) == 128
        assert first_chunk(dict(self.CFG, nms=NMS['linear'], early_exit=40)) == 40
        assert first_chunk(dict(self.CFG, early_exit=1)) == 1

    def test_off(self) -> None:
        assert first_chunk(dict(self.CFG, early_exit=False)) == 0
        assert first_chunk(dict(self.CFG, objectness='none', early_exit=40)) == 0
        assert first_chunk(dict(nms=HARD)) == 0

    @pytest.mark.parametrize(
        'nms',
        [
            dict(HARD, class_agnostic=True),
            dict(HARD, split_thr=20),
            dict(type='soft_nms', iou_threshold=0.3),
        ],
    )
    def test_skipped_where_boxes_depend_on_all_candidates(self, nms: dict) -> None:
        assert first_chunk(dict(self.CFG, nms=nms, early_exit=40)) == 0

    @pytest.mark.parametrize('early_exit', ['on', -3, 0.5, None])
    def test_wrong_setting(self, early_exit: object) -> None:
        with pytest.raises(ValueError, match='early_exit must be True, False or a number'):
            first_chunk(dict(self.CFG, early_exit=early_exit))


def test_class_agnostic_nms_of_mmcv_does_depend_on_the_number_of_candidates() -> None:
    """Why it is skipped: from ``split_thr`` candidates on it is no longer class-agnostic."""
    scene = Scene(0, regions=4, classes=2)
    scene.boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])
    scene.probs = torch.tensor([[0.9, 0, 0.1], [0, 0.8, 0.2], [0.7, 0, 0.3], [0.6, 0, 0.4]])
    scene.objectness = torch.tensor([4.0, 4.0, 2.0, 1.0])
    nms = dict(HARD, class_agnostic=True, split_thr=4)
    expected, actual = both_ways(scene, 'logit', dict(score_thr=0.0, nms=nms, max_per_img=2), 3)
    assert expected.region_inds.tolist() == [0, 1] and actual.region_inds.tolist() == [0, 2]
