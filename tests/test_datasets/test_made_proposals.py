# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Random boxes and grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS

from regionclip_mmdet.datasets import GridProposals, RandomProposals


def results(height: int = 100, width: int = 200) -> dict:
    return {'img': np.zeros((height, width, 3), np.uint8), 'img_shape': (height, width)}


def test_random_boxes_keep_to_their_ranges() -> None:
    np.random.seed(0)
    transform = RandomProposals(500, area_range=(0.02, 0.1), aspect_range=(0.5, 2.0))
    boxes = transform(results())['proposals']
    assert boxes.shape == (500, 4) and boxes.dtype == np.float32
    assert (boxes >= 0).all() and (boxes <= [200, 100, 200, 100]).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    share, aspect = sides.prod(1) / 20000, sides[:, 0] / sides[:, 1]
    assert 0.02 <= share.min() * 1.001 and share.max() <= 0.1001
    assert 0.5 <= aspect.min() * 1.001 and aspect.max() <= 2.001
    # log-uniform: half of them below the geometric mean
    assert 0.42 < (share < np.sqrt(0.02 * 0.1)).mean() < 0.58
    assert 0.42 < (aspect < 1).mean() < 0.58
    # no corner of the image is left out
    assert boxes[:, 0].min() < 8 and boxes[:, 2].max() > 192


def test_random_boxes_of_a_narrow_image_are_cut() -> None:
    np.random.seed(0)
    boxes = RandomProposals(50, area_range=(0.5, 1.0))(results(10, 1000))['proposals']
    assert (boxes[:, 3] <= 10).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_seed_decides() -> None:
    drawn = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        drawn.append(RandomProposals(5)(results())['proposals'])
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_grids_by_hand() -> None:
    boxes = GridProposals(grids=(1, 2))(results())['proposals']
    assert boxes.tolist() == [
        [0, 0, 200, 100],
        [0, 0, 100, 50],
        [100, 0, 200, 50],
        [0, 50, 100, 100],
        [100, 50, 200, 100],
    ]
    wider = GridProposals(grids=(2,), overlap=0.5)(results())['proposals']
    assert wider[0].tolist() == [0, 0, 125, 62.5]
    assert wider[3].tolist() == [75, 37.5, 200, 100]


def test_proposals_reach_the_sample() -> None:
    for transform in (dict(type='RandomProposals', num_proposals=3), dict(type='GridProposals')):
        pipeline = Compose([TRANSFORMS.build(transform), PackDetInputs(meta_keys=('img_shape',))])
        sample = pipeline(results())['data_samples']
        assert len(sample.proposals.bboxes) == (3 if transform['type'] == 'RandomProposals' else 85)
        assert sample.proposals.scores.unique().tolist() == [1.0]
        assert sample.proposals.bboxes.dtype == torch.float32


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: RandomProposals(0), 'num_proposals must be positive'),
        (lambda: RandomProposals(area_range=(0.0, 0.5)), 'area_range must be two rising'),
        (lambda: RandomProposals(area_range=(0.5, 1.5)), 'at most 1'),
        (lambda: RandomProposals(aspect_range=(2.0, 1.0)), 'aspect_range must be two rising'),
        (lambda: GridProposals(grids=()), 'grids must be positive'),
        (lambda: GridProposals(overlap=-1), 'overlap must not be negative'),
    ],
)
def test_senseless_settings_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_an_image_is_needed() -> None:
    with pytest.raises(KeyError, match='GridProposals needs img_shape'):
        GridProposals()({})
