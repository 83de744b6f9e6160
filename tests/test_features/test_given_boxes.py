# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Regions of boxes from files and grids."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import features_world as world
from helpers.features_world import extract
from regionclip_mmdet import features
from regionclip_mmdet.apis import encode_regions
from regionclip_mmdet.features import (
    CocoBoxes,
    GridBoxes,
    list_images,
    read_region_features,
)


def test_annotations(photos: Path, tmp_path: Path) -> None:
    path = world.write_json(photos.parent / 'boxes.json', world.annotations())
    made_by = world.maker(source='given', dtype='float32', vocabulary=world.vocabulary())
    images = list_images(path, photos)
    report = features.extract_region_features(
        made_by,
        images,
        world.inputs_of(made_by),
        str(tmp_path / 'out'),
        CocoBoxes(str(path), images),
        progress=False,
    )
    found = read_region_features(tmp_path / 'out')
    assert (report.regions, report.images, report.dropped) == (3, 5, 0)
    assert found.image_ids.tolist() == [10, 11, 12, 13, 14]
    assert np.diff(found.starts).tolist() == [2, 0, 1, 0, 0]
    # in the order of the file, cut at the border; the crowd is left out
    boxes = [[10, 5, 40, 25], [40, 20, 80, 50], [0, 0, 80, 60]]
    np.testing.assert_array_equal(found.boxes, np.array(boxes, dtype=np.float32))
    assert found.box_ids.tolist() == [7, 3, 5]
    assert [found.manifest.label_names[i] for i in found.labels] == ['stuff', 'thing', 'stuff']
    assert np.isnan(found.scores).all() and np.isnan(found.objectness).all()
    wanted = encode_regions(
        made_by.model, [str(photos / world.NAMES[i]) for i in (0, 2)], [boxes[:2], boxes[2:]]
    )
    raw = torch.cat([regions.raw for regions in wanted]).numpy()
    np.testing.assert_allclose(found.raw, raw, rtol=1e-4, atol=1e-5)


def test_annotations_are_found_by_path_in_a_folder(photos: Path, tmp_path: Path) -> None:
    path = world.write_json(tmp_path / 'boxes.json', world.annotations())
    made_by = world.maker(source='given')
    extract(made_by, photos, tmp_path / 'out', CocoBoxes(str(path), list_images(photos)))
    found = read_region_features(tmp_path / 'out')
    assert found.image_ids.tolist() == [0, 1, 2, 3, 4] and found.box_ids.tolist() == [7, 3, 5]


def test_results_with_nms_and_dropped_boxes(photos: Path, tmp_path: Path) -> None:
    content = world.annotations()
    listing = world.write_json(tmp_path / 'images.json', content)
    boxes = [[10, 10, 20, 20], [50, 5, 20, 20], [11, 10, 20, 20], [90, 10, 5, 5]]
    scores = [0.3, 0.2, 0.9, 0.8]
    rows = [
        dict(image_id=12, bbox=box, category_id=1, score=score) for box, score in zip(boxes, scores)
    ]
    results = world.write_json(tmp_path / 'results.json', rows)
    images = list_images(listing, photos)
    made_by = world.maker(source='given', nms='class-agnostic')
    report = features.extract_region_features(
        made_by,
        images,
        world.inputs_of(made_by),
        str(tmp_path / 'out'),
        CocoBoxes(str(results), images),
        progress=False,
    )
    found = read_region_features(tmp_path / 'out')
    # the first is suppressed by the third; the last lies outside the image of 80 x 60
    assert found.box_ids.tolist() == [1, 2] and report.dropped == 1
    np.testing.assert_allclose(found.scores, [0.2, 0.9])
    assert '1 given boxes have no area within their image' in str(report)


def test_a_box_without_a_score_is_not_the_best(photos: Path, tmp_path: Path) -> None:
    images = list_images(world.write_json(tmp_path / 'images.json', world.annotations()), photos)
    rows = [dict(image_id=12, bbox=[i, i, 20, 20], category_id=1) for i in range(4)]
    rows[1]['score'], rows[3]['score'] = 0.1, 0.2
    results = CocoBoxes(str(world.write_json(tmp_path / 'results.json', rows)), images)
    for number, wanted in ((1, [3]), (3, [0, 1, 3])):
        made_by, out = world.maker(source='given', max_regions=number), str(tmp_path / str(number))
        features.extract_region_features(
            made_by, images, world.inputs_of(made_by), out, results, progress=False
        )
        assert read_region_features(out).box_ids.tolist() == wanted


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(score=None), 'score of box 1 is None'),
        (dict(score='0.5'), "score of box 1 is '0.5'"),
        (dict(bbox=dict(x=1)), 'result 1: bbox must be four finite numbers'),
        (dict(bbox=['a', 1, 2, 2]), 'result 1: bbox must be four finite numbers'),
        (dict(bbox=[1, 1, -2, 2]), 'result 1: bbox must be four finite numbers'),
        (dict(bbox=[1, 1, 2, float('nan')]), 'result 1: bbox must be four finite numbers'),
        (dict(image_id=[12]), r'result 1: image_id cannot be \[12\]'),
        (dict(category_id={}), 'result 1: category_id cannot be {}'),
    ],
)
def test_results_that_are_none(photos: Path, tmp_path: Path, change: dict, words: str) -> None:
    images = list_images(world.write_json(tmp_path / 'images.json', world.annotations()), photos)
    row = dict(image_id=12, bbox=[1, 1, 9, 9], category_id=1, score=0.5)
    results = world.write_json(tmp_path / 'results.json', [row, {**row, **change}])
    with pytest.raises(ValueError, match=words):
        CocoBoxes(str(results), images)


def test_ids_as_spreadsheets_write_them(photos: Path, tmp_path: Path) -> None:
    images = list_images(world.write_json(tmp_path / 'images.json', world.annotations()), photos)
    row = dict(image_id=12, bbox=[1, 1, 9, 9], category_id=1, score=0.5)
    rows = [row, {**row, 'image_id': 12.0, 'category_id': 1.0}, {**row, 'category_id': None}]
    given = CocoBoxes(str(world.write_json(tmp_path / 'results.json', rows)), images)
    place = [entry.id for entry in images.entries].index(12)
    labels = given.of(place, (60, 80)).labels
    assert len(labels) == 3 and labels[0] == labels[1] >= 0 and labels[2] == -1


def test_results_of_other_images_are_counted(photos: Path, tmp_path: Path) -> None:
    """One box of an image that is asked for, nine of others."""
    images = list_images(world.write_json(tmp_path / 'images.json', world.annotations()), photos)
    row = dict(bbox=[5, 5, 30, 30], category_id=1, score=0.9)
    others = [*range(900, 907), 906, '12']
    rows = [{**row, 'image_id': i} for i in (12, *others)]
    rows.append({**row, 'image_id': 12, 'category_id': 77})
    path = world.write_json(tmp_path / 'results.json', rows)
    why = (
        r'9 of 11 boxes of .*results\.json are left out: they lie in 8 images .*\(ids 900, 901, 902'
    )
    with pytest.warns(UserWarning, match=why):
        given = CocoBoxes(str(path), images)
    made_by = world.maker(source='given')
    report = features.extract_region_features(
        made_by, images, world.inputs_of(made_by), tmp_path / 'out', given, progress=False
    )
    assert report.regions == 2 and re.search(why, str(report))
    assert '1 boxes of' in str(report) and 'category_id that' in str(report)


def test_annotations_of_a_part_of_the_images(photos: Path, tmp_path: Path) -> None:
    """Images by path: a folder with two that the file does not know, without one that it has."""
    content = world.annotations()
    content['images'][1]['file_name'], content['images'][2]['file_name'] = 'x.png', 'y.png'
    path = world.write_json(tmp_path / 'boxes.json', content)
    with pytest.warns(UserWarning, match=r'1 of 3 boxes .* lie in 1 images .*\(ids 12\)'):
        given = CocoBoxes(str(path), list_images(photos))
    assert given.notes[1].startswith(f'2 of 5 images are not in {path}')


def test_the_same_ids_of_other_images_are_told(photos: Path, tmp_path: Path) -> None:
    """As two sets of images that are both numbered from 1; of LVIS' addresses the end counts."""
    content = world.annotations()
    images = list_images(world.write_json(tmp_path / 'images.json', content), photos)
    content['images'][0]['file_name'] = 'elsewhere/00.jpg'
    del content['images'][1]['file_name']
    content['images'][1]['coco_url'] = 'http://images.cocodataset.org/val2017/01.jpg'
    assert CocoBoxes(str(world.write_json(tmp_path / 'a.json', content)), images).notes == []
    content['images'][2]['file_name'] = 'other.png'
    with pytest.warns(UserWarning, match=r'1 images have the same ids.*02\.png, there other\.png'):
        CocoBoxes(str(world.write_json(tmp_path / 'b.json', content)), images)


@pytest.mark.parametrize('area', [None, 'many', float('nan'), -1, [1]])
def test_areas_are_not_asked_for(photos: Path, tmp_path: Path, area: object) -> None:
    content = world.annotations()
    wanted = CocoBoxes(str(world.write_json(tmp_path / 'a.json', content)), list_images(photos)).of(
        0, (60, 80)
    )
    for ann in content['annotations']:
        ann.pop('area', None) if area is None else ann.update(area=area)
    path = world.write_json(tmp_path / 'boxes.json', content)
    assert len(list_images(path, photos)) == 5
    for images in (list_images(path, photos), list_images(photos)):
        given = CocoBoxes(str(path), images)
        np.testing.assert_array_equal(given.of(0, (60, 80)).boxes, wanted.boxes)
        assert given.notes == []


def test_ignored_boxes_are_left_out(photos: Path, tmp_path: Path) -> None:
    """As in training and evaluation."""
    content = world.annotations()
    images = list_images(photos)
    path = str(world.write_json(tmp_path / 'a.json', content))
    wanted = CocoBoxes(path, images).of(0, (60, 80))
    ignored = dict(content['annotations'][0], id=77, ignore=1)
    content['annotations'].insert(0, ignored)
    path = str(world.write_json(tmp_path / 'a.json', content))
    given = CocoBoxes(path, images).of(0, (60, 80))
    np.testing.assert_array_equal(given.boxes, wanted.boxes)
    assert len(wanted.boxes) and 77 not in given.ids


def test_boxes_in_another_scale_are_still_refused(photos: Path, tmp_path: Path) -> None:
    content = world.annotations()
    for ann in content['annotations']:
        ann.pop('area', None)
        ann['bbox'] = [value / 100 for value in ann['bbox']]
    path = world.write_json(tmp_path / 'boxes.json', content)
    with pytest.raises(ValueError, match=r'boxes\.json: .* Boxes must be'):
        CocoBoxes(str(path), list_images(photos))


def test_results_beside_a_list_of_images_alone(photos: Path, tmp_path: Path) -> None:
    """As COCO's image_info files, here without categories: boxes have no labels."""
    listing = dict(images=world.annotations()['images'])
    images = list_images(world.write_json(tmp_path / 'images.json', listing), photos)
    row = dict(image_id=12, bbox=[1, 1, 9, 9], score=0.5)
    given = CocoBoxes(str(world.write_json(tmp_path / 'results.json', [row])), images)
    assert given.names == () and given.of(2, (60, 80)).labels.tolist() == [-1]


def test_a_grid(photos: Path, tmp_path: Path) -> None:
    extract(world.maker(source='given'), photos, tmp_path / 'out', GridBoxes((1, 2)))
    found = read_region_features(tmp_path / 'out')
    assert np.diff(found.starts).tolist() == [5] * 5
    wanted = [[0, 0, 80, 60], [0, 0, 40, 30], [40, 0, 80, 30], [0, 30, 40, 60]]
    np.testing.assert_array_equal(found.boxes[:4], wanted)


def test_refusals(photos: Path, tmp_path: Path) -> None:
    content = world.annotations()
    path = world.write_json(tmp_path / 'boxes.json', content)
    images = list_images(photos)
    scored = world.maker(source='given', score_thr=0.5)
    with pytest.raises(ValueError, match=r'boxes.json: boxes without scores'):
        extract(scored, photos, tmp_path / 'out', CocoBoxes(str(path), images))
    with pytest.raises(ValueError, match='grids must be positive'):
        GridBoxes((0,))
    with pytest.raises(ValueError, match='grid have no scores'):
        extract(scored, photos, tmp_path / 'out', GridBoxes())
    with pytest.raises(ValueError, match="source 'given'"):
        extract(world.maker(source='given'), photos, tmp_path / 'out')
    results = world.write_json(tmp_path / 'results.json', [dict(image_id=1, bbox=[0, 0, 1, 1])])
    with pytest.raises(ValueError, match='by their ids alone'):
        CocoBoxes(str(results), images)
    with pytest.raises(ValueError, match='none of them lies'):
        CocoBoxes(str(results), list_images(path, photos))
    content['images'][0].update(width=60, height=80)
    turned = CocoBoxes(str(world.write_json(path, content)), images)
    with pytest.raises(ValueError, match=r'00.png: the image has 80 x 60 .* says 60 x 80'):
        extract(world.maker(source='given'), photos, tmp_path / 'out', turned, num_workers=1)
