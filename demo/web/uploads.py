# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Uploaded files become images, or messages."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from regionclip_mmdet.datasets.transforms.load_image import as_rgb

from .errors import UserError

# More than this times longer than wide, and nothing is left of the short side for a network.
MAX_ASPECT = 50
# Gradio counts so, too.
MB = 2**20
# Of visitors nothing else is opened: Pillow would hand EPS to Ghostscript, a program of the system.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF')


@dataclass(frozen=True)
class ImageLimits:
    """What an upload may be.

    Attributes:
        max_bytes: size of the file.
        max_pixels: number of pixels, read from its header before anything is decoded.
        min_side: Shorter sides are refused: there is nothing to see.
    """

    max_bytes: int = 20 * MB
    max_pixels: int = 50_000_000
    min_side: int = 8


@dataclass(frozen=True, eq=False)
class UploadedImage:
    """A decoded upload.

    Attributes:
        rgb: uint8 ``(H, W, 3)``, turned as its EXIF tag says.
        key: Hash of the pixels: equal images have equal keys, whatever their files.
        notes: remarks for the visitor on how the file was read.
        factor: From pixels of the upload to those of ``rgb``, see ``shrunk``.
        full_size: Height and width of the upload; None: those of ``rgb``.
    """

    rgb: np.ndarray
    key: str
    notes: tuple[str, ...] = ()
    factor: float = 1.0
    full_size: tuple[int, int] | None = None

    @property
    def size(self) -> str:
        """Width and height of the upload in words."""
        height, width = self.full_size or self.rgb.shape[:2]
        return f'{width} x {height}'

    def shrunk(self, longest: int) -> UploadedImage:
        """The same, to be shown: with a longer side of at most ``longest`` pixels."""
        rgb, factor = shrink(self.rgb, longest)
        full_size = self.full_size or self.rgb.shape[:2]
        return replace(self, rgb=rgb, factor=self.factor * factor, full_size=full_size)


def read_upload(content: bytes, limits: ImageLimits | None = None) -> UploadedImage:
    """Decode an upload.

    The EXIF orientation is applied, the first frame of an animation is taken, transparency lies on
    white, 16-bit gray is scaled to 8 bits, all else becomes RGB as in Pillow.

    Args:
        content: Bytes of the file.
        limits: limits of the upload.

    Raises:
        UserError: It is no image, damaged, too large, too thin, or of 32-bit values.
    """
    limits = limits or ImageLimits()
    if len(content) > limits.max_bytes:
        raise UserError(
            f'The file has more than {limits.max_bytes / MB:g} MB, which is the most that this '
            'server takes. Upload a smaller one.'
        )
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's own limit of pixels; ours is below
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_size(*image.size, limits)
                # not counted: that would read all of the file
                if getattr(image, 'is_animated', False):
                    notes.append('the file has several frames, the first one is used')
                image.load()
                rgb = _on_white(image, notes) if _is_transparent(image) else as_rgb(image)
        except UserError:
            raise
        except Image.DecompressionBombError:  # Pillow's own limit, where ours is beyond it
            raise UserError(
                'The image has far too many pixels. Scale it down and upload it again.'
            ) from None
        except Image.UnidentifiedImageError:
            raise UserError(
                'This file is no image that can be read here. JPEG, PNG, WebP, GIF, BMP and TIFF '
                'can.'
            ) from None
        except Exception as error:  # damaged files make decoders raise whatever they like
            reason = str(error).strip()[:200] or type(error).__name__
            raise UserError(
                f'The image cannot be decoded: {reason}. The file may be damaged or cut off; '
                'upload it again, or save it as JPEG or PNG.'
            ) from None
    rgb = np.ascontiguousarray(rgb)
    digest = hashlib.sha256(str(rgb.shape).encode())
    digest.update(rgb.data)
    return UploadedImage(rgb, digest.hexdigest(), tuple(notes))


def shrink(rgb: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """An image that is shown: its longer side is at most ``longest`` pixels.

    Returns:
        uint8 ``(h, w, 3)`` and the factor from original to shown pixels.
    """
    height, width = rgb.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return rgb, 1.0
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)), factor


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    size = f'{width} x {height} pixels'
    if width * height > limits.max_pixels:
        raise UserError(
            f'The image has {size}, {width * height / 1e6:.1f} megapixels; this server takes up '
            f'to {limits.max_pixels / 1e6:g}. Scale it down and upload it again.'
        )
    if min(width, height) < limits.min_side:
        raise UserError(f'The image has only {size}; each side needs at least {limits.min_side}.')
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UserError(
            f'The image has {size}: too long for its width. Cut it to a shape of at most '
            f'{MAX_ASPECT} to 1.'
        )


def _is_transparent(image: Image.Image) -> bool:
    if image.mode.startswith('I'):  # one transparent value of 16-bit gray, which is scaled instead
        return False
    return image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info


def _on_white(image: Image.Image, notes: list[str]) -> np.ndarray:
    rgba = ImageOps.exif_transpose(image).convert('RGBA')
    if rgba.getextrema()[3][0] < 255:
        notes.append('transparent parts are shown on white')
    white = Image.new('RGBA', rgba.size, 'white')
    return np.asarray(Image.alpha_composite(white, rgba).convert('RGB'))
