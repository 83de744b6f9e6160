# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Image decoding as the official code does it, with errors that name the file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get
from PIL import Image, ImageOps

_NEVER_OPENED = ('EPS', 'WMF')


class BrokenImageError(OSError):
    """An image is missing, damaged or cannot be turned into RGB."""


def open_image(content: bytes) -> Image.Image:
    """Open an image file of any kind that Pillow reads itself, whatever its name says.

    Not EPS, which Pillow hands to Ghostscript, a program of the system, nor WMF, to Windows.
    """
    Image.init()
    kinds = [kind for kind in Image.OPEN if kind not in _NEVER_OPENED]
    return Image.open(io.BytesIO(content), formats=kinds)


def decode_rgb(content: bytes, ignore_orientation: bool = False) -> np.ndarray:
    """Decode an image file.

    Gray, palette, CMYK and images with transparency become RGB as in Pillow's ``convert``; alpha
    is dropped. 16-bit gray is scaled to 8 bits: Pillow would make everything above 255 white.

    Args:
        content: The file's bytes.
        ignore_orientation: Take the pixels as they are stored, whatever the EXIF tag says.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        ValueError: 32-bit gray or floating point images, whose range is unknown.
        Exception: Whatever Pillow raises for damaged files.
    """
    with open_image(content) as image:
        image.load()
        return as_rgb(image, ignore_orientation)


def as_rgb(image: Image.Image, ignore_orientation: bool = False) -> np.ndarray:
    """Pixels of an image of Pillow; see ``decode_rgb``."""
    if not ignore_orientation:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I;16'):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode in ('I', 'F'):
        raise ValueError(
            f'its pixels have mode {image.mode!r} (32 bits), whose range is unknown; '
            'convert it to 8 bits'
        )
    return np.asarray(image.convert('RGB'))


@TRANSFORMS.register_module()
class LoadImageChecked(LoadImageFromFile):
    """mmdet's ``LoadImageFromFile`` with Pillow, clear errors, and boxes that cannot be misplaced.

    * The EXIF orientation is applied, as in detectron2 and in mmdet's loader, so boxes refer to
      the image as it is *shown*. An image whose size then differs from the annotation's is refused:
      its boxes would lie elsewhere.
    * 16-bit gray keeps its content, and gray with alpha loses only its alpha; mmcv makes the
      former white and mixes the latter with a color. Otherwise the pixels are those of
      ``LoadImageFromFile(imdecode_backend='pillow')``.

    mmdet's ``DetInferencer`` looks for a transform of the name ``LoadImageFromFile``, so the *test*
    pipelines of the configs keep that one.

    An image that the dataset has read already (``img_bytes``, the file's bytes, of shards) is taken
    from there.

    Added keys: ``img`` (uint8 ``(H, W, 3)``, BGR), ``img_shape``, ``ori_shape``.

    Args:
        to_float32: As in mmdet.
        ignore_orientation: Take pixels as they are stored.
        check_size: Compare with ``height`` and ``width`` of the annotation, where it has them.
        max_pixels: Larger images are refused before they are decoded; bounds memory.
        backend_args: mmengine file backend.
    """

    def __init__(
        self,
        to_float32: bool = False,
        ignore_orientation: bool = False,
        check_size: bool = True,
        max_pixels: int = 100_000_000,
        *,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(to_float32, imdecode_backend='pillow', backend_args=backend_args)
        self.ignore_orientation = ignore_orientation
        self.check_size = check_size
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        """Add the image to ``results``.

        Raises:
            BrokenImageError: The file is missing, damaged or too large.
            ValueError: The image is not of the annotation's size.
        """
        path = results['img_path']
        # once decoded, nobody needs the file; it would travel on with the sample
        content = results.pop('img_bytes', None)
        rgb = self._decode(path, self._read(path) if content is None else content)
        self._compare(rgb.shape, results)
        image = np.ascontiguousarray(rgb[..., ::-1])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> bytes:
        try:
            return get(path, backend_args=self.backend_args)
        except Exception as error:
            raise BrokenImageError(
                f'{path}: the image cannot be read ({type(error).__name__}). Check data_root and '
                'data_prefix of the dataset.'
            ) from error

    def _decode(self, path: str, content: bytes) -> np.ndarray:
        try:
            with open_image(content) as image:
                width, height = image.size
            if width * height > self.max_pixels:
                raise ValueError(
                    f'{width} x {height} pixels are more than max_pixels={self.max_pixels} of '
                    'LoadImageChecked'
                )
            return decode_rgb(content, self.ignore_orientation)
        except Exception as error:  # damaged files make decoders raise whatever they like
            raise BrokenImageError(
                f'{path}: the image cannot be decoded ({len(content)} bytes): {error}. Replace or '
                'remove it; skip_broken=True of the dataset trains without such images.'
            ) from error

    def _compare(self, shape: tuple[int, ...], results: dict) -> None:
        wanted = (results.get('height'), results.get('width'))
        if not self.check_size or None in wanted or shape[:2] == wanted:
            return
        hint = 'Correct its height and width, or set check_size=False of LoadImageChecked.'
        if shape[1::-1] == wanted and not self.ignore_orientation:
            hint = (
                'If the file is turned by its EXIF orientation and the boxes refer to the pixels '
                'as stored, use LoadImageChecked(ignore_orientation=True).'
            )
        raise ValueError(
            f'{results["img_path"]}: the image has {shape[1]} x {shape[0]} pixels (width x '
            f'height), but its annotation says {wanted[1]} x {wanted[0]}: boxes would be '
            f'misplaced. {hint}'
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(to_float32={self.to_float32}, '
            f'ignore_orientation={self.ignore_orientation}, check_size={self.check_size}, '
            f'max_pixels={self.max_pixels}, backend_args={self.backend_args})'
        )
