# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions and proposals on their way to the model."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import PackDetInputs, ProposalBroadcaster, RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes

from regionclip_mmdet.datasets import PickCaption, ProposalsFromGT, ResizeShortestEdgeTruncated

BOXES = [[2.0, 4.0, 12.0, 14.0], [0.0, 0.0, 40.0, 30.0], [10.0, 5.0, 20.0, 25.0]]
# 40 x 30 pixels, doubled, mirrored: x -> 80 - 2x, y -> 2y; the second box is to be ignored
EXPECTED = [[56.0, 8.0, 76.0, 28.0], [40.0, 10.0, 60.0, 50.0]]


def make_results() -> dict:
    return {
        'img': np.zeros((30, 40, 3), dtype=np.uint8),
        'img_shape': (30, 40),
        'ori_shape': (30, 40),
        'gt_bboxes': HorizontalBoxes(torch.tensor(BOXES)),
        'gt_bboxes_labels': np.array([0, 1, 2]),
        'gt_ignore_flags': np.array([False, True, False]),
    }


def moves() -> list:
    return [Resize(scale=(80, 60), keep_ratio=True, backend='pillow'), RandomFlip(prob=1.0)]


def test_proposals_after_resize_and_flip() -> None:
    pack = PackDetInputs(meta_keys=('img_shape',))
    sample = Compose([*moves(), ProposalsFromGT(score=0.5), pack])(make_results())['data_samples']
    np.testing.assert_allclose(sample.proposals.bboxes, EXPECTED)
    assert sample.proposals.bboxes.dtype == torch.float32
    assert sample.proposals.scores.tolist() == [0.5, 0.5]
    torch.testing.assert_close(sample.gt_instances.bboxes.tensor, sample.proposals.bboxes)


def test_proposals_before_resize_need_the_broadcaster() -> None:
    alone = Compose([ProposalsFromGT(), *moves()])(make_results())
    np.testing.assert_allclose(alone['proposals'], [BOXES[0], BOXES[2]])  # left behind
    pack = PackDetInputs(meta_keys=())
    wrapped = Compose([ProposalsFromGT(), ProposalBroadcaster(moves()), pack])(make_results())
    np.testing.assert_allclose(wrapped['data_samples'].proposals.bboxes, EXPECTED)


def test_broadcaster_shares_the_random_flip() -> None:
    np.random.seed(0)
    pipeline = Compose([ProposalsFromGT(), ProposalBroadcaster([RandomFlip(prob=0.5)])])
    flipped = set()
    for _ in range(20):
        results = pipeline(make_results())
        flipped.add(results['flip'])
        kept = results['gt_bboxes'].numpy()[[0, 2]]
        np.testing.assert_allclose(results['proposals'], kept)
    assert flipped == {True, False}


def test_proposals_do_not_alias_the_boxes() -> None:
    results = ProposalsFromGT()(make_results())
    results['proposals'][:] = -1
    np.testing.assert_allclose(results['gt_bboxes'].numpy(), BOXES)


def test_proposals_of_an_empty_image_and_without_boxes() -> None:
    results = make_results()
    results['gt_bboxes'] = HorizontalBoxes(torch.zeros(0, 4))
    results['gt_ignore_flags'] = np.zeros(0, dtype=bool)
    assert ProposalsFromGT()(results)['proposals'].shape == (0, 4)
    with pytest.raises(KeyError, match='LoadAnnotations'):
        ProposalsFromGT()({'img': 0})


def test_pick_caption() -> None:
    captions = ['a', 'b', 'c']
    assert PickCaption(test_mode=True)({'captions': captions})['text'] == 'a'
    draws = []
    for _ in range(2):
        np.random.seed(5)
        draws.append([PickCaption()({'captions': captions})['text'] for _ in range(60)])
    assert draws[0] == draws[1]
    assert {draws[0].count(c) > 8 for c in captions} == {True}
    with pytest.raises(ValueError, match=r'x\.jpg has no captions'):
        PickCaption()({'img_path': 'x.jpg', 'captions': []})


def test_text_reaches_the_data_sample() -> None:
    results = {**make_results(), 'captions': ['a red circle']}
    pipeline = Compose([PickCaption(), PackDetInputs(meta_keys=('text',))])
    sample = pipeline(results)['data_samples']
    assert sample.text == sample.metainfo['text'] == 'a red circle'


def test_only_the_first_captions_or_boxes() -> None:
    captions = [f'caption {i}' for i in range(7)]
    drawn = {PickCaption(first=5)(dict(captions=captions))['text'] for _ in range(300)}
    assert drawn == set(captions[:5])
    assert PickCaption(first=5)(dict(captions=captions[:1]))['text'] == 'caption 0'
    with pytest.raises(ValueError, match='positive or None, not 0'):
        PickCaption(first=0)
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    ignored = np.array([0, 1, 0, 0, 0], bool)
    results = ProposalsFromGT(max_num=2)(dict(gt_bboxes=boxes, gt_ignore_flags=ignored))
    assert np.array_equal(results['proposals'], boxes[[0, 2]])
    assert len(results['proposals_scores']) == 2


def test_sizes_of_official_pretraining() -> None:
    """By hand: truncated, not rounded; the long side first."""

    def size(height: int, width: int) -> tuple[int, int]:
        resize = ResizeShortestEdgeTruncated(scale=800, max_size=1333, backend='pillow')
        return resize(dict(img=np.zeros((height, width, 3), np.uint8)))['img'].shape[:2]

    assert size(375, 500) == (800, 1066)  # 1066.67
    assert size(500, 375) == (1066, 800)
    assert size(300, 600) == (666, 1333)  # 1600 is too long: 1333 * 800 / 1600 = 666.5
    assert size(800, 1500) == (800, 1500)  # stays, though too long
    assert size(400, 400) == (800, 800)
