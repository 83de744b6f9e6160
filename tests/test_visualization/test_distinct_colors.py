# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""No two names of an image look alike, and a name keeps its color where it can."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from skimage.color import deltaE_cie76, rgb2lab

from regionclip_mmdet.recipes.name_lists import LISTS
from regionclip_mmdet.visualization import assign_colors, draw_detections, draw_regions, name_color

LEAST = 20  # CIE76
GRAY = np.full((400, 600, 3), 128, dtype=np.uint8)


def differences(colors: list[tuple[int, int, int]]) -> list[float]:
    """Of every two colors, by scikit-image."""
    lab = rgb2lab(np.array(colors, dtype=np.uint8)[None])[0]
    return [float(deltaE_cie76(a, b)) for a, b in itertools.combinations(lab, 2)]


def images(number: int, how_many: int) -> list[list[str]]:
    """Names drawn from LVIS' 1203."""
    generator = np.random.default_rng(number)
    return [
        generator.choice(LISTS['lvis_1203'], number, replace=False).tolist()
        for _ in range(how_many)
    ]


def too_near(names: list[str]) -> bool:
    """Whether two of the names have colors of their own that are alike."""
    return min(differences([name_color(name) for name in names])) < LEAST


@pytest.mark.parametrize(('number', 'collide'), [(5, 0.1), (8, 0.3), (20, 0.9)])
def test_no_two_names_are_alike(number: int, collide: float) -> None:
    chosen = images(number, 40)
    # as many images as that would have two names of one color
    assert np.mean([too_near(names) for names in chosen]) > collide
    kept = []
    for names in chosen:
        colors = assign_colors(names)
        assert list(colors) == names
        assert min(differences(list(colors.values()))) >= LEAST
        kept.append(np.mean([colors[name] == name_color(name) for name in names]))
    # of n names at most a few have a color that is near another's
    assert np.mean(kept) > {5: 0.85, 8: 0.8, 20: 0.6}[number]


@pytest.mark.parametrize('names', [LISTS['coco_80'], LISTS['ov_coco_65']])
def test_whole_vocabularies(names: tuple[str, ...]) -> None:
    assert min(differences(list(assign_colors(names).values()))) >= LEAST


def test_names_alone_settle_the_colors() -> None:
    """Neither their order nor how often they come matters; without conflict all keep their own."""
    for names in images(8, 30):
        colors = assign_colors(names)
        assert assign_colors(names[::-1] + names[:3]) == colors
        if not too_near(names):
            assert colors == {name: name_color(name) for name in names}
        # a further name leaves at least all but one or two as they were
        more = assign_colors([*names, 'a further name'])
        assert sum(more[name] != colors[name] for name in names) <= 2
    assert assign_colors([]) == {} and assign_colors(['cat']) == {'cat': name_color('cat')}
    both = assign_colors(['caf\u00e9', 'cafe\u0301'])
    assert both['caf\u00e9'] == both['cafe\u0301']


def test_very_many_names_have_some_color() -> None:
    colors = assign_colors(LISTS['lvis_1203'])
    assert len(colors) == 1203 and len(set(colors.values())) > 700


def clashing() -> tuple[str, str]:
    """Two names whose own colors are alike."""
    pairs = itertools.combinations(LISTS['lvis_1203'], 2)
    return next(pair for pair in pairs if too_near(list(pair)))


def test_images_have_them() -> None:
    names = clashing()
    colors = assign_colors(names)
    boxes = [[20, 60, 180, 200], [250, 60, 500, 300]]
    for drawn in (
        draw_detections(GRAY, boxes, names, line_width=3),
        draw_regions(GRAY, boxes, names, [0.9, 0.8], line_width=3),
    ):
        for (x1, y1, _, _), name in zip(boxes, names, strict=True):
            assert tuple(drawn[y1 + 100, x1]) == colors[name]


def test_annotations_and_detections_share_them() -> None:
    """The same name has one color on both images of a sample, masks included."""
    names = clashing()
    colors = assign_colors(names)
    box = torch.tensor([[20.0, 60.0, 180.0, 200.0]])
    masks = torch.zeros(1, 400, 600, dtype=torch.bool)
    masks[:, 100:150, 60:100] = True
    sample = DetDataSample(
        gt_instances=InstanceData(bboxes=box, labels=torch.tensor([0])),
        pred_instances=InstanceData(
            bboxes=box, labels=torch.tensor([0]), scores=torch.ones(1), label_names=[names[1]],
            masks=masks,
        ),
    )  # fmt: skip
    shown = VISUALIZERS.build(
        dict(type='OpenVocabVisualizer', name='shared colors', line_width=3, alpha=1.0)
    )
    shown.dataset_meta = dict(classes=(names[0],))
    shown.add_datasample('x', GRAY, sample)
    drawn = shown.get_image()
    truth, found = drawn[:, :600], drawn[:, -600:]
    assert tuple(truth[130, 20]) == colors[names[0]]
    assert tuple(found[130, 20]) == colors[names[1]]
    assert np.abs(found[120, 80].astype(int) - colors[names[1]]).max() <= 1
