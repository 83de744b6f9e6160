# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images of every kind, down to the pixel; what is refused and how the file is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile, Resize
from PIL import EpsImagePlugin, Image

from regionclip_mmdet.datasets import BrokenImageError, LoadImageChecked

LEFT, RIGHT = (200, 100, 50), (10, 240, 30)
GRAY = (124, 147)  # ITU-R 601 luma of both: 0.299 R + 0.587 G + 0.114 B


def halves() -> Image.Image:
    """8 x 12 pixels (height x width), one color on either side."""
    array = np.zeros((8, 12, 3), dtype=np.uint8)
    array[:, :6], array[:, 6:] = LEFT, RIGHT
    return Image.fromarray(array)


def with_alpha(mode: str) -> Image.Image:
    image = halves().convert(mode)
    image.putalpha(128)
    return image


def sixteen_bits() -> Image.Image:
    array = np.full((8, 12), 300, dtype=np.uint16)
    array[:, 6:] = 65535
    return Image.fromarray(array)


def load(path: Path, **info: object) -> dict:
    return LoadImageChecked()({'img_path': str(path), **info})


def save(image: Image.Image, path: Path, **settings: object) -> Path:
    image.save(path, **settings)
    return path


@pytest.mark.parametrize(
    ('image', 'suffix', 'left', 'right'),
    [
        (halves(), 'png', LEFT, RIGHT),
        (halves().convert('L'), 'png', (GRAY[0],) * 3, (GRAY[1],) * 3),
        (with_alpha('LA'), 'png', (GRAY[0],) * 3, (GRAY[1],) * 3),
        (with_alpha('RGBA'), 'png', LEFT, RIGHT),
        (halves().convert('P', palette=Image.Palette.ADAPTIVE), 'png', LEFT, RIGHT),
        (halves().convert('CMYK'), 'tiff', LEFT, RIGHT),
        (halves().convert('1', dither=Image.Dither.NONE), 'png', (0, 0, 0), (255, 255, 255)),
        # 300 / 256 and 65535 / 256, rounded down
        (sixteen_bits(), 'png', (1, 1, 1), (255, 255, 255)),
    ],
    ids=['rgb', 'gray', 'gray+alpha', 'rgba', 'palette', 'cmyk', '1 bit', '16 bit gray'],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, image: Image.Image, suffix: str, left: tuple, right: tuple
) -> None:
    results = load(save(image, tmp_path / f'a.{suffix}'), height=8, width=12)
    assert results['img'].dtype == np.uint8 and results['img'].flags.c_contiguous
    assert results['img_shape'] == results['ori_shape'] == (8, 12)
    rgb = results['img'][..., ::-1]
    np.testing.assert_array_equal(rgb[:, :6], np.broadcast_to(left, (8, 6, 3)))
    np.testing.assert_array_equal(rgb[:, 6:], np.broadcast_to(right, (8, 6, 3)))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P', 'RGBA', 'CMYK'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_usual_images_are_those_of_mmdets_loader(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    suffix = 'png' if mode in ('P', 'RGBA') else 'jpg'
    path = save(Image.fromarray(pixels).convert(mode), tmp_path / f'a.{suffix}', exif=exif)
    theirs = LoadImageFromFile(imdecode_backend='pillow')({'img_path': str(path)})
    ours = load(path)
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    assert ours['img_shape'] == theirs['img_shape'] == ((40, 30) if orientation == 6 else (30, 40))


def rotated(tmp_path: Path) -> Path:
    """Stored 8 x 12; shown turned clockwise by a quarter: 12 x 8, the left side on top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(halves(), tmp_path / 'a.png', exif=exif)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = load(rotated(tmp_path), height=12, width=8)['img']
    np.testing.assert_array_equal(image[:6], np.broadcast_to(LEFT[::-1], (6, 8, 3)))
    np.testing.assert_array_equal(image[6:], np.broadcast_to(RIGHT[::-1], (6, 8, 3)))


def test_boxes_of_the_stored_pixels_are_refused_or_wanted(tmp_path: Path) -> None:
    path = rotated(tmp_path)
    with pytest.raises(ValueError, match=r'a\.png: .*8 x 12 pixels .* says 12 x 8.*ignore_orient'):
        load(path, height=8, width=12)
    stored = LoadImageChecked(ignore_orientation=True)
    image = stored({'img_path': str(path), 'height': 8, 'width': 12})['img']
    np.testing.assert_array_equal(image[:, :6], np.broadcast_to(LEFT[::-1], (8, 6, 3)))


def test_other_sizes_than_annotated_are_refused(tmp_path: Path) -> None:
    path = save(halves(), tmp_path / 'a.png')
    info = {'img_path': str(path), 'height': 80, 'width': 120}
    with pytest.raises(ValueError, match=r'12 x 8 pixels .* 120 x 80.*check_size=False'):
        LoadImageChecked()(dict(info))
    assert LoadImageChecked(check_size=False)(dict(info))['img_shape'] == (8, 12)


def test_float_arrays(tmp_path: Path) -> None:
    path = save(halves(), tmp_path / 'a.png')
    image = LoadImageChecked(to_float32=True)({'img_path': str(path)})['img']
    assert image.dtype == np.float32 and image[0, 0].tolist() == list(LEFT[::-1])


def damaged(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    if kind == 'float':
        Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(buffer, 'TIFF')
        return buffer.getvalue()
    Image.fromarray(noise).save(buffer, 'PNG' if kind == 'png' else 'JPEG')
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (damaged('jpg'), 'truncated'),
        (damaged('png'), 'truncated'),
        (b'', r'\(0 bytes\)'),
        (b'<html>404</html>', 'cannot identify'),
        (damaged('float'), "mode 'F' .* unknown; convert"),
    ],
    ids=['cut jpeg', 'cut png', 'empty', 'no image', 'float'],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'broken.jpg'
    path.write_bytes(content)
    with pytest.raises(BrokenImageError, match=rf'broken\.jpg: .*cannot be decoded.*{message}'):
        load(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r'none\.jpg: .*cannot be read .*data_prefix'):
        load(tmp_path / 'none.jpg')


def test_huge_images_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(Image.new('1', (3000, 2000)), tmp_path / 'a.png')
    monkeypatch.setattr(Image.Image, 'convert', lambda *a, **k: pytest.fail('decoded'))
    with pytest.raises(BrokenImageError, match='3000 x 2000 pixels are more than max_pixels=5999'):
        LoadImageChecked(max_pixels=5999999)({'img_path': str(path)})


@pytest.mark.parametrize(
    ('size', 'resized'),
    [
        ((1, 1), (800, 800)),
        ((20000, 200), (1333, 13)),  # the long edge rules: 1333 / 20000 * 200 = 13.3
        ((200, 20000), (13, 1333)),
    ],
)
def test_extreme_shapes_stay_bounded(tmp_path: Path, size: tuple, resized: tuple) -> None:
    path = save(Image.new('RGB', size, LEFT), tmp_path / 'a.png')
    results = load(path, width=size[0], height=size[1])
    image = Resize(scale=(1333, 800), keep_ratio=True, backend='pillow')(results)['img']
    assert image.shape == (*resized[::-1], 3)
    assert (image == LEFT[::-1]).all()


def test_no_program_of_the_system_reads_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostScript under another name: Pillow alone would start Ghostscript."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *args, **_: started.append(args))
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (20, 10), 'red').save(path, 'EPS')
    with pytest.raises(BrokenImageError, match=r'a\.jpg: the image cannot be decoded'):
        LoadImageChecked().transform(dict(img_path=str(path)))
    assert not started
