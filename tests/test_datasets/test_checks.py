# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO-format files: what is refused, what is counted, and that mmdet does what is said."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset

from regionclip_mmdet.datasets import ImageTextDataset, ShapesWorldDataset
from regionclip_mmdet.datasets.annotation_file import read_annotation_file
from regionclip_mmdet.datasets.checks import check_classes, check_coco, check_split

NAMES = ('cat', 'dog', 'bird')


def ann(number: int, *box: float, image: int = 1, category: int = 1, **other: object) -> dict:
    fields = dict(id=number, image_id=image, category_id=category, bbox=list(box), iscrowd=0)
    return {**fields, 'area': box[2] * box[3], **other}


def coco() -> dict:
    """Two images of 40 x 30; the second is without boxes."""
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=40, height=30) for i in (1, 2)],
        annotations=[ann(i, 2, 4, 10, 8) for i in (1, 2, 3)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(NAMES)],
    )


def test_a_sound_file_is_counted() -> None:
    report = check_coco(coco(), 'a.json')
    assert (report.images, report.annotations, report.images_without_boxes) == (2, 3, 1)
    assert report.left_out == report.cut == 0
    assert str(report) == '2 images, 3 boxes; 1 images without boxes'
    empty = {**coco(), 'annotations': []}
    assert check_coco(empty, 'a.json').images_without_boxes == 2


def test_what_mmdet_leaves_out_is_counted(tmp_path: Path) -> None:
    content = coco()
    content['annotations'] += [
        ann(10, 5, 5, 0, 9),  # no area
        ann(11, 5, 5, 0.5, 9),  # thinner than a pixel
        ann(12, 60, 5, 9, 9),  # right of the image
        ann(13, 30, 20, 20, 20),  # sticks out: kept
        ann(14, -3, 4, 10, 8),  # sticks out: kept
        ann(15, -0.5, 4, 40.8, 8),  # less than a pixel: not worth a word
    ]
    report = check_coco(content, 'a.json')
    assert (report.tiny, report.outside, report.cut, report.left_out) == (2, 1, 2, 3)
    assert '1 boxes left out: outside their image' in str(report)
    # mmdet agrees
    (tmp_path / 'a.json').write_text(json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(tmp_path / 'a.json'),
        data_prefix=dict(img=''),
        metainfo=dict(classes=NAMES),
        pipeline=[],
    )
    instances = dataset.get_data_info(0)['instances']
    assert len(instances) == report.annotations - report.left_out
    assert [30.0, 20.0, 50.0, 40.0] in [i['bbox'] for i in instances]
    assert dataset.get_data_info(1)['instances'] == []


def broken(part: str, number: int, **fields: object) -> dict:
    """A sound file with fields of one entry replaced; ``None`` takes a field away."""
    content = copy.deepcopy(coco())
    for key, value in fields.items():
        content[part][number][key] = value
        if value is None:
            del content[part][number][key]
    return content


NAN, INF = float('nan'), float('inf')
NESTED: list = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], "is no COCO annotation file: it needs the lists .* missing: .*'images'"),
        ({'images': [], 'annotations': []}, r"missing: \['categories'\]"),
        ({**coco(), 'images': {}}, 'needs the lists'),
        (broken('images', 1, id=1), 'image 1: the id 1 occurs twice'),
        (broken('annotations', 2, id=1), 'annotation 2: the id 1 occurs twice'),
        (broken('categories', 1, id=1), 'category 1: the id 1 occurs twice'),
        (broken('annotations', 0, id=None), "annotation 0: needs an object with the key 'id'"),
        (broken('categories', 1, name='cat'), r"names must be .* distinct; double: \['cat'\]"),
        (broken('images', 0, file_name=None), r"image 0 \(id 1\): needs 'file_name'"),
        (broken('images', 1, width=None), r'image 1 \(id 2\): width must be .*, not None'),
        (broken('images', 0, height=0), 'height must be a positive number of pixels, not 0'),
        (
            broken('annotations', 1, image_id=7),
            r'annotation 1 \(id 2\): image_id 7 is not among the images',
        ),
        (
            broken('annotations', 1, category_id=9),
            r'annotation 1 \(id 2\): category_id 9 is not among the categories',
        ),
        (
            broken('annotations', 2, bbox=[1, NAN, 3, 4]),
            r'annotation 2 \(id 3, image_id 1\): bbox must be four finite numbers .*nan',
        ),
        (broken('annotations', 0, bbox=[1, 2, INF, 4]), 'four finite numbers .*inf'),
        (broken('annotations', 0, bbox=[1, 2, 3]), r'four finite numbers .* not \[1, 2, 3\]'),
        (broken('annotations', 0, bbox=None), 'four finite numbers .* not None'),
        (broken('annotations', 0, bbox=['1', 2, 3, 4]), 'four finite numbers'),
        (broken('annotations', 0, bbox=[9, 9, -3, 4]), 'has a negative side'),
        (broken('annotations', 1, area=None), r"'area' must be .*not None; .*width \* height"),
        (broken('annotations', 1, area=NAN), "'area' must be a finite number .* nan"),
        (broken('annotations', 1, area=10**30), "'area' must be a finite number"),
        (broken('annotations', 0, bbox=[1, 2, 3, 10**400]), 'four finite numbers'),
        (broken('annotations', 0, bbox=[[1], 2, 3, 4]), 'four finite numbers'),
        (broken('annotations', 0, bbox={'x': 1}), r"four finite numbers .* not \{'x': 1\}"),
        (broken('annotations', 0, id=[1]), r'annotation 0: an id is a number or a text, not \[1\]'),
        (broken('images', 1, id=NAN), 'image 1: an id is a number or a text, not nan'),
        (broken('categories', 0, id={}), r'category 0: an id is .*, not \{\}'),
        (broken('categories', 0, id=True), 'category 0: an id is .*, not True'),
        (broken('annotations', 0, image_id=[1]), r'image_id \[1\] is not among'),
        (broken('annotations', 0, category_id=NESTED), 'category_id a value of type list is not'),
        (broken('annotations', 2, iscrowd='no'), r'annotation 2 \(id 3\): iscrowd must be 0 or 1'),
        (broken('annotations', 2, ignore=[0]), r'ignore must be 0 or 1, not \[0\]'),
        (broken('categories', 1, name=['cat']), r"category 1 \(id 2\): .* texts, not \['cat'\]"),
        (broken('categories', 1, name=' '), "must be present and distinct texts, not ' '"),
        (broken('images', 0, file_name=7), r"image 0 \(id 1\): needs 'file_name'.* not \[7\]"),
        (broken('images', 0, file_name='a\0b'), "needs 'file_name'"),
        (broken('images', 0, file_name='\ud800'), "needs 'file_name'"),
        (broken('images', 0, height=NAN), 'height must be a positive number of pixels, not nan'),
        (broken('images', 0, width=INF), 'width must be a positive number of pixels, not inf'),
        (broken('images', 0, width=10**400), 'width must be a positive number of pixels, not 1000'),
        (broken('images', 0, width='40'), "width must be a positive number of pixels, not '40'"),
        (
            {**coco(), 'images': [[coco()['images'][0]]]},
            "image 0: needs an object with the key 'id'",
        ),
        (
            {**coco(), 'annotations': [ann(1, 0.1, 0.2, 0.3, 0.4), ann(2, 0.1, 0.2, 0.5, 0.5)]},
            r'2 of 2 boxes are smaller than a pixel .*annotation 0 .*in pixels',
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf'a\.json.*{message}'):
        check_coco(content, 'a.json')


def test_metrics_need_neither_names_nor_sizes_of_images() -> None:
    content = broken('images', 0, file_name=None, width=None)
    assert check_coco(content, 'a.json', files=False).outside == 0
    with pytest.raises(ValueError, match=r'height must be .* not 0'):
        check_coco(broken('images', 0, height=0), 'a.json', files=False)
    content = broken('annotations', 0, area=None)
    assert check_coco(content, 'a.json', areas=False).tiny == 0
    for area in ('x', NAN, -1):
        content = broken('annotations', 0, area=area)
        assert check_coco(content, 'a.json', areas=False).tiny == 0
    content = broken('annotations', 0, bbox=[1, 2])
    with pytest.raises(ValueError, match='four finite numbers'):
        check_coco(content, 'a.json', areas=False)


def test_ignored_boxes_are_counted() -> None:
    content = coco()
    content['annotations'][1]['ignore'] = 1
    assert '1 boxes with "ignore": 1, neither trained' in str(check_coco(content, 'a.json'))


def test_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'Mine: annotation file .*none\.json.*ann_file'):
        read_annotation_file(str(tmp_path / 'none.json'), who='Mine')
    path = tmp_path / 'a.json'
    for content in (b'{"images": [', b'\xff\xfe{}', b''):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'a\.json is no valid JSON'):
            read_annotation_file(str(path))
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}')  # a byte order mark, as Windows writes it
    assert read_annotation_file(str(path)) == {'a': 'é'}


def test_classes_are_compared_by_name_and_order() -> None:
    check_classes(('x', *NAMES, 'y'), NAMES, 'a.json', '')
    with pytest.raises(ValueError, match=r"a\.json has no categories \['cow'\] \(1 of 2 .*Do this"):
        check_classes(NAMES, ('cat', 'cow'), 'a.json', 'Do this.')
    with pytest.raises(ValueError, match="at place 1 it has 'dog' instead of 'bird'"):
        check_classes(NAMES, ('cat', 'bird', 'dog'), 'a.json', '')


@pytest.mark.parametrize(
    ('metainfo', 'message'),
    [
        ({}, 'no base_classes'),
        (dict(base_classes=('cat',)), 'no novel_classes.*CocoMetric'),
        (dict(base_classes=('cat',), novel_classes=('cow',)), r"novel_classes names \['cow'\]"),
        (dict(base_classes=('cat', 'dog'), novel_classes=('dog',)), r"\['dog'\] are both"),
        (dict(base_classes='cat'), r"base_classes is the text 'cat', .* base_classes=\['cat'\]"),
        (dict(base_classes=('cat', 3)), 'base_classes has 3, which is no text'),
    ],
)
def test_splits(metainfo: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f'The test set: .*{message}'):
        check_split(dict(classes=NAMES, **metainfo), 'The test set')
    check_split(dict(classes=NAMES, base_classes=('cat',), novel_classes=('dog',)), '')


def test_splits_with_an_empty_part() -> None:
    one = dict(classes=NAMES, base_classes=('cat',), novel_classes=())
    check_split(one, '', may_be_empty=True)
    with pytest.raises(ValueError, match='no novel_classes'):
        check_split(one, '')
    with pytest.raises(ValueError, match='no base_classes'):
        check_split(dict(one, base_classes=()), '', may_be_empty=True)
    with pytest.raises(ValueError, match='no novel_classes'):
        check_split(dict(classes=NAMES, base_classes=('cat',)), '', may_be_empty=True)


def test_shapes_worlds_are_checked_when_built(scenes: Path, tmp_path: Path) -> None:
    content = json.loads((scenes / 'instances.json').read_text())
    content['annotations'][5]['bbox'][2] = NAN
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'instances\.json, annotation 5 .*nan'):
        ShapesWorldDataset(data_root=str(tmp_path), ann_file='instances.json')
    with pytest.raises(FileNotFoundError, match=r'ShapesWorldDataset: annotation file .*b\.json'):
        ShapesWorldDataset(data_root=str(tmp_path), ann_file='b.json')


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.json', b'{"images": [{"id": 1}], "annotations": []}', "image 0: needs the keys 'id'"),
        ('a.json', b'{"images": [3], "annotations": []}', 'image 0: needs the keys'),
        ('a.json', b'\xff', 'no valid JSON'),
        ('a.jsonl', b'{"image": "x", "caption": "y"}\n\xff', 'line 2 is no valid JSON'),
        ('a.jsonl', b'{"image": 3, "caption": "y"}', "line 1: needs .* 'image' "),
        ('a.jsonl', b'{"image": "x"}', 'no image with a caption'),
    ],
)
def test_caption_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf'{name}.*{message}'):
        ImageTextDataset(ann_file=name, data_root=str(tmp_path))
