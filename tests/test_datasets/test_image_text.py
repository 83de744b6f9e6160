# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions: both file formats, what is skipped, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from regionclip_mmdet.datasets import ImageTextDataset


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text('\n'.join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def make(path: Path, **kwargs: object) -> ImageTextDataset:
    return ImageTextDataset(
        ann_file=path.name, data_root=str(path.parent), data_prefix={'img_path': 'im'}, **kwargs
    )


def test_coco_captions(scenes: Path) -> None:
    dataset = ImageTextDataset(
        ann_file='captions.json', data_root=str(scenes), data_prefix={'img_path': 'images'}
    )
    content = json.loads((scenes / 'captions.json').read_text())
    assert len(dataset) == 40
    for i, image in enumerate(content['images']):
        item = dataset[i]
        assert item['img_path'] == str(scenes / 'images' / image['file_name'])
        assert Path(item['img_path']).exists()
        expected = [a['caption'] for a in content['annotations'] if a['image_id'] == image['id']]
        assert item['captions'] == expected
        assert (item['height'], item['width'], item['img_id']) == (128, 128, image['id'])


def test_json_lines(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / 'c.jsonl',
        {'image': 'a.jpg', 'caption': ' a dog '},
        '',
        {'image': '/abs/b.jpg', 'captions': ['a cat', '', 'two cats'], 'id': 'b', 'width': 5},
        {'image': 'c.jpg', 'captions': []},
        {'image': 'd.jpg', 'caption': '  '},
    )
    dataset = make(path)
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [item['captions'] for item in items] == [['a dog'], ['a cat', 'two cats']]
    assert [item['img_id'] for item in items] == [1, 'b']
    assert items[0]['img_path'] == str(tmp_path / 'im/a.jpg')
    assert items[1]['img_path'] == '/abs/b.jpg' and items[1]['width'] == 5
    assert (dataset.num_skipped_captions, dataset.num_skipped_images) == (2, 2)


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ({'image': 'a', 'caption': 3}, TypeError, r'line 2: a caption must be a string, got int 3'),
        ({'image': 'a', 'captions': ['x', None]}, TypeError, 'line 2: .* NoneType'),
        ({'caption': 'x'}, ValueError, "line 2: needs an object with the key 'image'"),
        ('{"image": ', ValueError, 'line 2 is no valid JSON'),
        ('["a", "b"]', ValueError, 'line 2: needs an object'),
        ('[' * 99999, ValueError, 'line 2 is no valid JSON: it is nested too deeply'),
        ('{"image": "a", "id": ' + '1' * 5000 + '}', ValueError, 'line 2 is no valid JSON'),
        ('{"image": "a", "caption": "x\\udc80"}', ValueError, 'line 2: .* half a surrogate pair'),
        ({'image': 'a\ud800', 'caption': 'x'}, ValueError, 'line 2: .* is no path'),
        ({'image': '', 'caption': 'x'}, ValueError, "line 2: '' is no path"),
        ({'image': 'a', 'caption': 'x', 'id': [1]}, ValueError, r'line 2: id \[1\] is neither'),
        (
            {'image': 'a', 'caption': 'x', 'width': '8'},
            ValueError,
            "line 2: width '8' is no number",
        ),
        ({'image': 'a', 'caption': 'x', 'height': 0}, ValueError, 'line 2: height 0 is no number'),
    ],
)
def test_bad_lines_are_named(
    tmp_path: Path, line: object, error: type[Exception], message: str
) -> None:
    path = write_lines(tmp_path / 'c.jsonl', {'image': 'a', 'caption': 'fine'}, line)
    with pytest.raises(error, match=rf'c\.jsonl, {message}'):
        make(path)


def test_empty_captions_can_be_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / 'c.jsonl', {'image': 'a', 'captions': ['fine', '']})
    assert make(path).num_skipped_captions == 1
    with pytest.raises(ValueError, match='line 1: the caption is empty'):
        make(path, skip_empty=False)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[]', "needs the keys 'images' and 'annotations'"),
        ('{', 'no valid JSON'),
        ('{"images": [], "annotations": []}', 'no image with a caption'),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2}]}',
            r'annotation 0 .*image_id 2 is not among',
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], '
            '"annotations": []}',
            'not unique',
        ),
    ],
)
def test_bad_coco_files(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(write_lines(tmp_path / 'c.json', content))


@pytest.mark.parametrize(
    'change',
    [
        dict(images=None),
        dict(images={'id': 1}),
        dict(annotations=3),
        dict(images=[{'id': [1], 'file_name': 'a'}]),
        dict(images=[{'id': None, 'file_name': 'a'}]),
        dict(images=[{'id': 1, 'file_name': 3}]),
        dict(images=[{'id': 1, 'file_name': 'a', 'height': 'x'}]),
        dict(images=[{'id': 1, 'file_name': 'a', 'width': float('nan')}]),
        dict(annotations=[{'image_id': {}, 'caption': 'x'}]),
        dict(annotations=[None]),
        dict(annotations=[{'image_id': 1, 'caption': '\ud800'}]),
    ],
)
def test_wrong_types_in_coco_files(tmp_path: Path, change: dict[str, Any]) -> None:
    content = dict(
        images=[dict(id=1, file_name='a', height=None, width=8.0)],
        annotations=[dict(image_id=1, caption='x')],
    )
    path = tmp_path / 'c.json'
    assert len(make(write_lines(path, content))) == 1
    with pytest.raises(ValueError, match=r'c\.json'):
        make(write_lines(path, content | change))


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'nothing\.json.*data_root'):
        make(tmp_path / 'nothing.json')
    with pytest.raises(ValueError, match=r'\.jsonl'):
        make(write_lines(tmp_path / 'c.tsv', 'a\tb'))
