# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The views: pixels where they belong, and what belongs together in one box."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch

from regionclip_mmdet.visualization import (
    Mark,
    canvas,
    contrast_ratio,
    draw_detections,
    draw_proposals,
    draw_pseudo_labels,
    draw_regions,
    group_regions,
    name_color,
    side_by_side,
    text_strip,
    views,
)

GRAY = np.full((240, 320, 3), 128, dtype=np.uint8)
BOX = (40.0, 60.0, 200.0, 180.0)


def marks_of(function: object, *args: object, **kwargs: object) -> list[Mark]:
    with mock.patch.object(views, 'draw_marks', side_effect=lambda image, *_: image) as draw:
        function(*args, **kwargs)
    return draw.call_args[0][1]


def extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_box_is_where_it_is() -> None:
    before = GRAY.copy()
    drawn = draw_detections(GRAY, [BOX], [''], line_width=1)
    assert (GRAY == before).all() and drawn.dtype == np.uint8 and drawn.shape == GRAY.shape
    color = name_color('')
    assert extent((drawn == color).all(-1)) == [40, 60, 200, 180]
    assert extent((drawn != 128).any(-1)) == [40, 60, 200, 180]
    assert (drawn[61:179, 41:199] == 128).all()  # nothing inside
    thick = draw_detections(GRAY, [BOX], [''], line_width=4)
    assert extent((thick == color).all(-1)) == [40, 60, 200, 180]
    assert extent((thick != 128).any(-1)) == [38, 58, 202, 182]  # a rim of two pixels
    assert contrast_ratio(tuple(thick[59, 100]), color) >= 4.5


def test_label_is_readable_and_above_its_box() -> None:
    drawn = draw_detections(GRAY, [BOX], ['cat'], [0.9], line_width=1)
    color = name_color('cat')
    label = drawn[:60]
    x1, y1, x2, y2 = extent((label != 128).any(-1))
    assert (x1, y2) == (40, 60) and y1 >= 40 and x2 < 120
    inside = label[y1:y2, x1:x2].reshape(-1, 3)
    values, counts = np.unique(inside, axis=0, return_counts=True)
    assert tuple(values[counts.argmax()]) == color  # the background
    ratios = [contrast_ratio(tuple(int(v) for v in value), color) for value in values]
    assert max(ratios) >= 4.5  # the letters


def test_better_detections_lie_on_top() -> None:
    boxes = [BOX, BOX]
    for scores in ([0.3, 0.8], [0.8, 0.3]):
        drawn = draw_detections(GRAY, boxes, ['cat', 'dog'], scores, line_width=1)
        best = name_color(['cat', 'dog'][int(np.argmax(scores))])
        assert tuple(drawn[120, 40]) == best
    # without a score, the first
    first = draw_detections(GRAY, boxes, ['cat', 'dog'], line_width=1)
    assert tuple(first[120, 40]) == name_color('cat')


def test_boxes_beyond_the_border_are_cut() -> None:
    boxes = [(-30, -20, 100, 100), (250, 200, 400, 300), (400, 10, 500, 90), (50, 50, 50, 50)]
    drawn = draw_detections(GRAY, boxes, [''] * 4, line_width=1, colors=['#ff0000'] * 4)
    red = (drawn == (255, 0, 0)).all(-1)
    assert red[0, :100].all() and red[99, :100].all() and red[:100, 0].all()
    assert red[200:, 250].all() and red[239, 250:].all()
    # Pillow draws a box without area as two pixels
    assert red[50, 50] and red.sum() == 2 * 100 + 2 * 98 + 2 * 70 + 2 * 38 + 2


def test_enlarging_moves_boxes_along() -> None:
    image = np.zeros((64, 80, 3), dtype=np.uint8)
    drawn = draw_detections(
        image, [(10, 20, 50, 60)], [''], colors=[(0, 255, 0)], min_side=200, line_width=1
    )
    assert drawn.shape == (256, 320, 3)  # four times: at least 200
    assert extent(drawn.any(-1)) == [40, 80, 200, 240]
    assert draw_detections(image, [], [], scale=1.5).shape == (96, 120, 3)
    assert draw_detections(GRAY, [], [], min_side=200).shape == GRAY.shape


def test_tensors_and_gray_images() -> None:
    boxes = torch.tensor([BOX], dtype=torch.float16, requires_grad=True)
    from_tensor = draw_detections(GRAY[..., 0], boxes, ['cat'], torch.tensor([0.9]))
    np.testing.assert_array_equal(from_tensor, draw_detections(GRAY, [BOX], ['cat'], [0.9]))


def test_refusals() -> None:
    with pytest.raises(ValueError, match='1 boxes but 2 names'):
        draw_detections(GRAY, [BOX], ['cat', 'dog'])
    with pytest.raises(ValueError, match='1 boxes but 2 scores'):
        draw_detections(GRAY, [BOX], ['cat'], [0.1, 0.2])
    with pytest.raises(ValueError, match=r'box 0 is not finite: \(nan, 0.0, 1.0, 1.0\)'):
        draw_detections(GRAY, [(float('nan'), 0, 1, 1)], ['cat'])
    with pytest.raises(ValueError, match=r'uint8 \(H, W, 3\), RGB, not float64 \(240, 320, 3\)'):
        draw_detections(GRAY / 255, [BOX], ['cat'])
    with pytest.raises(ValueError, match='1 boxes but 2 values of objectness'):
        draw_proposals(GRAY, [BOX], [0.1, 0.2])
    with pytest.raises(ValueError, match='topk must be at least 1 and 0 < iou <= 1, not 0 and 1'):
        draw_regions(GRAY, [BOX], ['cat'], [0.1], topk=0)


def random_detections(num_regions: int, number: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(2)
    corners = rng.integers(0, 200, (num_regions, 2, 2)).astype(float)
    regions = np.concatenate([corners.min(1), corners.max(1) + 1], 1)
    boxes = regions[rng.integers(0, num_regions, number)]
    return boxes, [f'n{i}' for i in rng.integers(0, 6, number)], rng.random(number)


def test_equal_boxes_are_one_region_with_its_best_names() -> None:
    boxes, names, scores = random_detections(9, 60)
    expected: dict[tuple, dict[str, float]] = {}
    for box, name, score in zip(boxes.tolist(), names, scores.tolist()):
        own = expected.setdefault(tuple(box), {})
        own[name] = max(score, own.get(name, 0.0))
    regions = group_regions(boxes, names, scores, topk=3)
    assert len(regions) == len(expected) == 9
    for region in regions:
        best = sorted(expected[region.box].items(), key=lambda pair: -pair[1])[:3]
        assert list(zip(region.names, region.scores)) == best
    assert [r.scores[0] for r in regions] == sorted((r.scores[0] for r in regions), reverse=True)
    assert max(len(r.names) for r in group_regions(boxes, names, scores)) > 3


def test_near_boxes_are_one_region_if_wanted() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 100, 60], [5, 5, 5, 5]], float)
    found = group_regions(boxes, list('abcd'), np.array([0.5, 0.9, 0.7, 0.1]), iou=0.85)
    # 90 % of the first, two thirds of the second; a box without area is equal to itself only
    assert [(r.box[3], r.names) for r in found] == [
        (90, ('b', 'a')), (60, ('c',)), (5, ('d',))
    ]  # fmt: skip
    assert len(group_regions(boxes, list('abcd'), np.ones(4))) == 4
    assert group_regions(np.zeros((0, 4)), [], np.zeros(0)) == []


def test_regions_are_drawn_once_with_names_under_each_other() -> None:
    boxes = [BOX, BOX, BOX, (5, 5, 20, 20)]
    names, scores = ['cat', 'dog', 'cow', 'cat'], [0.5, 0.75, 0.001, 1.25]
    marks = marks_of(draw_regions, GRAY, boxes, names, scores, topk=2)
    assert [[row.text for row in mark.rows] for mark in marks] == [
        ['cat 1.25'], ['dog 0.75', 'cat 0.50']
    ]  # fmt: skip
    assert [row.color for row in marks[1].rows] == [name_color('dog'), name_color('cat')]
    drawn = draw_regions(GRAY, boxes[:3], names[:3], scores[:3], topk=2, line_width=1)
    column = [tuple(color) for color in drawn[:60, 41]]
    heights = {name: column.count(name_color(name)) for name in ('dog', 'cat', 'cow')}
    assert heights['dog'] == heights['cat'] > 10 and heights['cow'] == 0
    assert column.index(name_color('dog')) < column.index(name_color('cat'))


def test_proposals_by_objectness() -> None:
    boxes = np.array([[i, i, i + 50, i + 50] for i in range(6)], dtype=float)
    logits = torch.tensor([0.1, 5.0, -3.0, 2.0, 4.0, -8.0])
    marks = marks_of(draw_proposals, GRAY, boxes, logits, max_boxes=4, num_labels=2)
    assert [mark.box[0] for mark in marks] == [1, 4, 3, 0]
    assert [mark.rows[0].text for mark in marks] == ['5.00', '4.00', '', '']
    first, *_, last = (mark.color for mark in marks)
    assert first[0] > 200 > first[2] and last[2] > 200 > last[0]
    marks = marks_of(draw_proposals, GRAY, boxes, max_boxes=2)
    assert [mark.box[0] for mark in marks] == [0, 1] and {mark.color for mark in marks} == {first}


def test_pseudo_labels_with_their_caption() -> None:
    boxes, names = [BOX, (5, 5, 20, 20), (9, 9, 30, 30)], ['cat', 'dog', 'cow']
    marks = marks_of(
        draw_pseudo_labels, GRAY, boxes, names, [0.2, 0.9, 0.4], max_regions=2,
        colors=['red', 'green', 'blue'],
    )  # fmt: skip
    assert [mark.rows[0].text for mark in marks] == ['dog 0.90', 'cow 0.40']
    assert [mark.color for mark in marks] == [(0, 128, 0), (0, 0, 255)]
    drawn = draw_pseudo_labels(GRAY, boxes, names, [0.2, 0.9, 0.4], caption='a cat and a dog')
    assert drawn.shape[0] > 240 and drawn.shape[1] == 320
    strip = drawn[240:]
    assert (strip[0] == 255).all() and (strip == 0).all(-1).any()
    np.testing.assert_array_equal(drawn[:240], draw_detections(GRAY, boxes, names, [0.2, 0.9, 0.4]))
    long = text_strip('word ' * 200, GRAY)
    assert long.shape[0] < 4 * text_strip('word', GRAY).shape[0]


def test_side_by_side() -> None:
    drawn = side_by_side(GRAY, np.zeros((240, 10, 3), np.uint8), gap=3)
    assert drawn.shape == (240, 333, 3)
    assert (drawn[:, 320:323] == 255).all() and (drawn[:, 323:] == 0).all()
    assert side_by_side(GRAY).shape == GRAY.shape


def test_labels_are_part_of_an_image_that_is_too_small_for_them() -> None:
    image = np.full((8, 8, 3), 128, dtype=np.uint8)
    assert draw_detections(image, [(1, 1, 6, 6)], ['a very long name'], [0.5]).shape == (8, 8, 3)
    assert canvas.Style(min_side=400).enlargement((8, 8)) == 50
