# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Masks that pycocotools can read, and those that it must not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api

from regionclip_mmdet.datasets.checks import check_masks, mask_problem

SQUARE = [1, 1, 9, 1, 9, 9, 1, 9]
NAN = float('nan')


def test_what_pycocotools_encodes_is_accepted() -> None:
    rng = np.random.default_rng(0)
    for number in range(300):
        height, width = (int(side) for side in rng.integers(1, 60, 2))
        pixels = rng.random((height, width)) < rng.random()
        if number % 3 == 0:  # long runs
            pixels = np.zeros((height, width), dtype=bool)
            pixels[: height // 2 + 1, width // 3 :] = True
        packed = mask_api.encode(np.asfortranarray(pixels, dtype=np.uint8))
        packed['counts'] = packed['counts'].decode()
        assert mask_problem(packed, height, width) is None
        flat = pixels.ravel(order='F')
        ends = np.flatnonzero(np.diff(flat.astype(int))) + 1
        runs = np.diff([0, *([0] if flat[0] else []), *ends, len(flat)]).tolist()
        plain = dict(size=[height, width], counts=runs)
        assert mask_problem(plain, height, width) is None
        read = mask_api.decode(mask_api.frPyObjects(plain, height, width))
        np.testing.assert_array_equal(read, pixels)
        cut = dict(packed, counts=packed['counts'][:-1])
        assert mask_problem(cut, height, width) is not None
    for polygons in (
        [SQUARE],
        [SQUARE, [float(v) for v in SQUARE]],
        [SQUARE, [1, 2]],
    ):
        assert mask_problem(polygons, 10, 12) is None
        mask_api.frPyObjects(polygons, 10, 12)


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (None, 'no segmentation'),
        ([], 'no segmentation'),
        ({}, 'no segmentation'),
        ('', 'no segmentation'),
        ('abc', 'of type str'),
        (3, 'of type int'),
        (SQUARE, 'a polygon must be a list of finite numbers, not 1'),
        ([SQUARE, None], 'not None'),
        ([[*SQUARE, NAN, 1]], 'finite numbers'),
        ([[*SQUARE, 1e300, 1]], 'finite numbers'),
        ([[*SQUARE, 10**400, 1]], 'finite numbers'),
        ([['1'] * 6], 'finite numbers'),
        ([[True] * 6], 'finite numbers'),
        ([SQUARE[:-1]], '7 numbers; x and y make pairs'),
        ([[1, 2]], 'has 2 numbers; three corners have six'),
        ([[1, 2, 3, 4], SQUARE], 'has 4 numbers; three corners have six'),
        ([[]], 'has 0 numbers; three corners have six'),
        (dict(counts=[120]), 'size None'),
        (dict(counts=[120], size=[12, 10]), r'size \[12, 10\], the image of \[10, 12\]'),
        (dict(counts=[119], size=[10, 12]), r'sum up to 119, not to 10 \* 12'),
        (dict(counts=[-1, 121], size=[10, 12]), 'no whole number from 0 on'),
        (dict(counts=[60.0, 60], size=[10, 12]), 'no whole number from 0 on'),
        (dict(counts=['a'], size=[10, 12]), 'no whole number from 0 on'),
        (dict(counts=7, size=[10, 12]), 'counts is of type int'),
        (dict(counts='oooo', size=[10, 12]), 'are no run lengths'),  # goes on behind its end
        (dict(counts='ü', size=[10, 12]), 'are no run lengths'),
        (dict(counts='0', size=[10, 12]), 'sum up to 0'),
    ],
)
def test_what_cannot_be_read_is_named(mask: Any, message: str) -> None:
    content = dict(
        images=[dict(id=7, height=10, width=12)],
        annotations=[dict(id=1, image_id=7, segmentation=[SQUARE])],
    )
    check_masks(content, 'a.json', 'Drawing')
    content['annotations'].append(dict(id='x', image_id=7, segmentation=mask))
    text = rf'a\.json, annotation 1 \(id x, image_id 7\): .*{message}.*Drawing needs a mask'
    with pytest.raises(ValueError, match=text):
        check_masks(content, 'a.json', 'Drawing')
    check_masks(content, 'a.json', 'Drawing', lambda ann: ann['id'] != 'x')


@pytest.mark.parametrize('size', [None, 10.5, 0, -3, NAN, '10', 10**30])
def test_masks_need_the_size_of_their_image(size: Any) -> None:
    assert 'no height and width in whole pixels' in mask_problem([SQUARE], size, 12)
    assert mask_problem([SQUARE], 10, size) == mask_problem([SQUARE], size, 12)
