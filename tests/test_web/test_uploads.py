# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Uploads of every kind: read as they are shown, or refused with a message."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, GifImagePlugin, Image

from demo.web import ImageLimits, UserError, read_upload
from demo.web.uploads import shrink

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def file_of(image: np.ndarray | Image.Image, kind: str = 'PNG', **settings: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has nothing in it."""
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + struct.pack('>I', 13)
        + header
        + struct.pack('>I', zlib.crc32(header))
        + struct.pack('>I', 0)
        + b'IDAT'
        + struct.pack('>I', zlib.crc32(b'IDAT'))
    )


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF'])
def test_plain_images_keep_their_pixels(kind: str) -> None:
    image = read_upload(file_of(RGB, kind))
    assert np.array_equal(image.rgb, RGB) and not image.notes and image.size == '30 x 20'


def test_the_same_pixels_have_the_same_key_whatever_the_file() -> None:
    keys = {read_upload(file_of(RGB, kind)).key for kind in ('PNG', 'BMP', 'TIFF')}
    assert len(keys) == 1
    changed = RGB.copy()
    changed[3, 4, 1] ^= 1
    turned = np.ascontiguousarray(RGB.reshape(30, 20, 3))  # the same bytes in another shape
    assert {read_upload(file_of(other)).key for other in (changed, turned)}.isdisjoint(keys)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6  # stored turned to the left: shown after a turn to the right
    image = read_upload(file_of(RGB, 'TIFF', exif=exif))
    assert np.array_equal(image.rgb, np.rot90(RGB, -1))


def test_gray_becomes_three_channels() -> None:
    image = read_upload(file_of(RGB[..., 0]))
    assert np.array_equal(image.rgb, np.repeat(RGB[..., :1], 3, axis=2))


def test_sixteen_bits_are_scaled() -> None:
    deep = (RGB[..., 0].astype(np.uint16) << 8) + 17
    assert np.array_equal(read_upload(file_of(deep)).rgb[..., 1], RGB[..., 0])
    # not white, as Pillow's own conversion with transparency
    with_transparent_value = file_of(Image.fromarray(deep), transparency=0)
    assert np.array_equal(read_upload(with_transparent_value).rgb[..., 1], RGB[..., 0])


def test_transparency_lies_on_white() -> None:
    alpha = np.full((20, 30, 1), 255, dtype=np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 0
    image = read_upload(file_of(np.concatenate([RGB, alpha], axis=2)))
    expected = RGB.astype(float) * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(image.rgb - expected).max() <= 1
    assert 'white' in image.notes[0]
    opaque = np.concatenate([RGB, np.full_like(alpha, 255)], axis=2)
    assert not read_upload(file_of(opaque)).notes


def test_the_first_frame_of_an_animation_is_used() -> None:
    colors = [Image.new('RGB', (30, 20), color) for color in ('red', 'blue', 'green')]
    content = file_of(colors[0], 'GIF', save_all=True, append_images=colors[1:])
    image = read_upload(content)
    assert (image.rgb == (255, 0, 0)).all() and 'first one' in image.notes[0]
    pages = file_of(colors[0], 'TIFF', save_all=True, append_images=colors[1:])
    image = read_upload(pages)
    assert (image.rgb == (255, 0, 0)).all() and 'first one' in image.notes[0]
    assert not read_upload(file_of(colors[0], 'GIF')).notes


def test_frames_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 20 MB may have a million."""
    colors = [Image.new('RGB', (30, 20), color) for color in ('red', 'blue', 'green')]
    content = file_of(colors[0], 'GIF', save_all=True, append_images=colors[1:])
    frames: list[int] = []
    seek = GifImagePlugin.GifImageFile._seek

    def counted(image: Image.Image, frame: int, *rest: object) -> None:
        frames.append(frame)
        seek(image, frame, *rest)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, '_seek', counted)
    read_upload(content)
    assert max(frames) == 1


def test_cmyk_and_palette() -> None:
    red = Image.new('RGB', (30, 20), (254, 0, 0))
    for content in (file_of(red.convert('CMYK'), 'JPEG'), file_of(red.convert('P'), 'PNG')):
        assert np.abs(read_upload(content).rgb.astype(int) - (254, 0, 0)).max() <= 4


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'hello world' * 100,
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        file_of(RGB)[:400],
        file_of(RGB, 'JPEG')[:600],
        png_header(30, 20),
        b'\x00' * 5000,
        file_of(RGB, 'PPM'),
    ],
    ids=['empty', 'text', 'svg', 'cut off PNG', 'cut off JPEG', 'no content', 'zeros', 'other'],
)
def test_broken_files_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(UserError, match='no image that can be read|cannot be decoded'):
        read_upload(content)


def test_no_program_of_the_system_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *args, **_: run.append(args))
    with pytest.raises(UserError, match='no image that can be read'):
        read_upload(file_of(RGB, 'EPS'))
    assert not run


def test_floating_point_is_refused() -> None:
    with pytest.raises(UserError, match='32 bits'):
        read_upload(file_of(Image.new('F', (30, 20)), 'TIFF'))


def test_limits() -> None:
    # decoding these would need 300 MB and 30 GB
    with pytest.raises(UserError, match='10000 x 10000 pixels, 100.0 megapixels'):
        read_upload(png_header(10_000, 10_000))
    with pytest.raises(UserError, match='far too many pixels'):
        read_upload(png_header(100_000, 100_000))
    limits = ImageLimits(max_bytes=1000, max_pixels=599)
    with pytest.raises(UserError, match='more than'):
        read_upload(b'x' * 1001, limits)
    small = file_of(Image.new('RGB', (30, 20)))
    with pytest.raises(UserError, match='30 x 20 pixels'):
        read_upload(small, limits)
    assert read_upload(small, ImageLimits(max_pixels=600)).size == '30 x 20'
    with pytest.raises(UserError, match='each side needs at least 8'):
        read_upload(file_of(Image.new('RGB', (30, 7))))
    with pytest.raises(UserError, match='too long'):
        read_upload(file_of(Image.new('RGB', (801, 16))))
    assert read_upload(file_of(Image.new('RGB', (800, 16)))).size == '800 x 16'


def test_shrink() -> None:
    assert shrink(RGB, 30)[1] == 1 and shrink(RGB, 30)[0] is RGB
    small, factor = shrink(np.full((200, 300, 3), 7, dtype=np.uint8), 60)
    assert small.shape == (40, 60, 3) and factor == 0.2 and (small == 7).all()
