# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""An image is the same image as a path and as an image of Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regionclip_mmdet.apis.image_inputs import as_bgr
from regionclip_mmdet.datasets.transforms import LoadImageChecked


def test_a_turned_photograph(tmp_path: Path) -> None:
    """Orientation 6: stored lying, to be shown upright."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'turned.png'
    Image.fromarray(pixels).save(path, exif=exif)
    upright = np.rot90(pixels, -1)[..., ::-1]
    assert np.array_equal(LoadImageChecked()(dict(img_path=str(path)))['img'], upright)
    with Image.open(path) as image:
        assert np.array_equal(as_bgr(image), upright)


def test_gray_of_16_bits(tmp_path: Path) -> None:
    values = (np.arange(60 * 80, dtype=np.uint16) * 13).reshape(60, 80)
    path = tmp_path / 'gray.png'
    Image.fromarray(values).save(path)
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(LoadImageChecked()(dict(img_path=str(path)))['img'], expected)
    with Image.open(path) as image:
        assert np.array_equal(as_bgr(image), expected)
    with pytest.raises(ValueError, match='range is unknown'):
        as_bgr(Image.fromarray(np.zeros((4, 4), np.float32)))
