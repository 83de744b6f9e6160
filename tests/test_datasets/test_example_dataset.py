# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The 20 images of docs/custom_dataset.md: what the page and its configs rely on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from examples.shapes_world.example import (
    BASE_NAMES,
    NOVEL_NAMES,
    make_example_dataset,
)
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.checks import check_coco


def test_files(tmp_path: Path) -> None:
    root = make_example_dataset(tmp_path / 'data')
    wanted = {'train': (12, BASE_NAMES), 'val': (8, BASE_NAMES + NOVEL_NAMES)}
    for part, (number, names) in wanted.items():
        path = root / 'annotations' / f'{part}.json'
        content = json.loads(path.read_text())
        report = check_coco(content, str(path))
        assert report.images == number and report.left_out == report.images_without_boxes == 0
        categories = content['categories']
        assert tuple(category['name'] for category in categories) == names
        assert {a['category_id'] for a in content['annotations']} == {c['id'] for c in categories}
        for image in content['images']:
            with Image.open(root / part / image['file_name']) as opened:
                assert opened.size == (image['width'], image['height'])


def test_boxes_hold_the_named_color(tmp_path: Path) -> None:
    root = make_example_dataset(tmp_path / 'data')
    content = json.loads((root / 'annotations' / 'val.json').read_text())
    ids = {c['id'] for c in content['categories'] if c['name'] == 'cyan square'}
    files = {image['id']: image['file_name'] for image in content['images']}
    boxes = [a for a in content['annotations'] if a['category_id'] in ids]
    assert boxes
    for box in boxes:
        x, y, w, h = box['bbox']
        with Image.open(root / 'val' / files[box['image_id']]) as opened:
            pixel = np.asarray(opened.convert('RGB'))[round(y + h / 2), round(x + w / 2)]
        assert np.abs(pixel.astype(int) - (50, 208, 222)).max() < 40


def test_the_same_again_and_others_by_seed(tmp_path: Path) -> None:
    first, second, other = (
        make_example_dataset(tmp_path / name, seed) for name, seed in (('a', 0), ('b', 0), ('c', 1))
    )
    read = [
        [p.read_bytes() for p in sorted(root.rglob('*.jpg'))] for root in (first, second, other)
    ]
    assert read[0] == read[1] and read[0] != read[2]
    make_example_dataset(first, seed=1)
    assert [p.read_bytes() for p in sorted(first.rglob('*.jpg'))] == read[2]


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('train/mine.jpg', ''),
        ('val/2024/photo_01.jpg', ''),
        ('annotations/val.json', '{"images": [], "categories": [{"id": 1, "name": "mug"}]}'),
        ('annotations/train.json', 'not JSON'),
    ],
)
def test_a_dataset_that_is_there_stays(tmp_path: Path, name: str, text: str) -> None:
    mine = tmp_path / 'data' / name
    mine.parent.mkdir(parents=True)
    mine.write_text(text)
    with pytest.raises(FileExistsError, match='is not of this example'):
        make_example_dataset(tmp_path / 'data')
    assert [p for p in (tmp_path / 'data').rglob('*') if p.is_file()] == [mine]
    assert mine.read_text() == text


def test_configs_name_its_categories() -> None:
    transfer = Config.fromfile(config_path('custom/example_transfer.py'))
    localizer = Config.fromfile(config_path('custom/example_localizer.py'))
    for cfg in (transfer, localizer):
        assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == BASE_NAMES
        assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == BASE_NAMES + NOVEL_NAMES
    assert tuple(transfer.val_dataloader.dataset.metainfo.novel_classes) == NOVEL_NAMES
