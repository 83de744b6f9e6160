# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Broken images in the middle of a run: named, or skipped and counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.logging import MMLogger
from PIL import Image

from regionclip_mmdet.datasets import ImageTextDataset, ShapesWorldDataset
from regionclip_mmdet.datasets.broken_images import MAX_IN_A_ROW, MAX_LOGGED

STOCK = dict(type='LoadImageFromFile')
STOCK_PILLOW = dict(type='LoadImageFromFile', imdecode_backend='pillow')
CHECKED = dict(type='LoadImageChecked')


@TRANSFORMS.register_module()
class FailingTransform(BaseTransform):
    """A bug, not a broken image."""

    def transform(self, results: dict) -> dict:
        raise IndexError('out of bounds')


def make(
    folder: Path, whole: int, broken: int, loader: dict = CHECKED, **kwargs: object
) -> ImageTextDataset:
    """Whole images first, then empty files, half a PNG and missing ones in turn."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rows = [dict(image=f'{i}.png', caption=str(i)) for i in range(whole + broken)]
    (folder / 'c.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    for i, row in enumerate(rows):
        path = folder / row['image']
        Image.fromarray(noise).save(path)
        if i >= whole:
            kind = (i - whole) % 3
            path.write_bytes(b'' if kind == 0 else path.read_bytes()[: path.stat().st_size // 2])
            if kind == 2:
                path.unlink()
    pipeline = [loader, dict(type='PickCaption'), dict(type='PackDetInputs', meta_keys=('text',))]
    return ImageTextDataset(
        ann_file='c.jsonl', data_root=str(folder), **{'pipeline': pipeline, **kwargs}
    )


@pytest.mark.parametrize('loader', [STOCK, STOCK_PILLOW, CHECKED], ids=['cv2', 'pillow', 'checked'])
@pytest.mark.parametrize('kind', [0, 1, 2], ids=['empty', 'half', 'missing'])
def test_errors_name_the_image(tmp_path: Path, loader: dict, kind: int) -> None:
    dataset = make(tmp_path, 1, 3, loader)
    assert dataset[0]['data_samples'].text == '0'
    with pytest.raises((OSError, AssertionError), match=rf'{tmp_path}/{kind + 1}\.png'):
        dataset[kind + 1]
    assert dataset.num_broken == 0


@pytest.mark.parametrize('loader', [STOCK, STOCK_PILLOW, CHECKED], ids=['cv2', 'pillow', 'checked'])
def test_another_image_is_drawn_and_counted(tmp_path: Path, loader: dict) -> None:
    np.random.seed(0)
    dataset = make(tmp_path, 2, 3, loader, skip_broken=True)
    drawn = [dataset[i]['data_samples'].text for i in [2, 3, 4] * 10]
    assert set(drawn) == {'0', '1'}
    assert dataset.num_broken >= 30
    # ids are lines, from 1; the first broken one counts, whatever was drawn in between
    assert [dataset[i]['data_samples'].instead_of for i in (2, 3, 4)] == [3, 4, 5]
    assert 'instead_of' not in dataset[0]['data_samples']
    before = dataset.num_broken
    assert dataset[1]['data_samples'].text == '1' and dataset.num_broken == before


def test_the_log_names_the_first_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = MMLogger.get_instance('broken_images')
    logger.addHandler(caplog.handler)
    try:
        dataset = make(tmp_path, 1, 3, skip_broken=True)
        with caplog.at_level(logging.WARNING):
            for _ in range(30):
                dataset[2]
    finally:
        logger.removeHandler(caplog.handler)
    lines = [r.getMessage() for r in caplog.records if 'skipped broken image' in r.getMessage()]
    assert len(lines) == MAX_LOGGED
    assert f'skipped broken image 1, {tmp_path}/2.png (BrokenImageError' in lines[0]
    assert 'counted, not logged' in lines[-1] and 'not logged' not in lines[0]


def test_tests_never_skip(tmp_path: Path) -> None:
    dataset = make(tmp_path, 1, 1, skip_broken=True, test_mode=True)
    with pytest.raises(OSError, match=r'1\.png'):
        dataset[1]


def test_bugs_are_not_skipped_but_named(tmp_path: Path) -> None:
    dataset = make(
        tmp_path, 1, 0, skip_broken=True, pipeline=[CHECKED, dict(type='FailingTransform')]
    )
    message = rf'c\.jsonl, item 0: image {tmp_path}/0\.png: IndexError: out of bounds'
    with pytest.raises(RuntimeError, match=message):
        dataset[0]


def test_a_dataset_without_images_ends_the_run(tmp_path: Path) -> None:
    dataset = make(tmp_path, 0, 1, skip_broken=True)
    message = rf'{MAX_IN_A_ROW} images in a row .*0\.png.*data_prefix'
    with pytest.raises(OSError, match=message):
        dataset[0]
    assert dataset.num_broken == dataset.num_tried == 1  # those drawn in its place do not count


def test_detection_data_too(scenes: Path) -> None:
    dataset = ShapesWorldDataset(
        data_root=str(scenes),
        ann_file='instances.json',
        data_prefix=dict(img='elsewhere/'),
        pipeline=[STOCK],
    )
    with pytest.raises(OSError, match='elsewhere/'):
        dataset[0]
