# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Colors: one of its own for each name, and text that can be read on any of them."""

from __future__ import annotations

import colorsys
import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

Color = tuple[int, int, int]
BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
# Between pale and dark, so that neither a bright nor a dark picture swallows a box.
_LIGHTNESSES = (0.36, 0.48, 0.6)
_SATURATIONS = (0.95, 0.7)
# From far from an object to on one: blue, green, yellow, red (hues falling from 240 to 0 degrees).
_COLD_HUE = 240 / 360


def name_color(name: str) -> Color:
    """The color of a name by itself: the same in every process and vocabulary.

    In a picture it has this one unless another name there is too near (``picture_colors``).

    A hash of the name chooses the hue, evenly over the circle, and one of six pairs of lightness
    and saturation. So it needs no list of names, and names that come later change nothing.
    Names that Unicode takes for the same (NFC) have the same color.

    Args:
        name: Any string.

    Returns:
        RGB, 0..255.
    """
    number, hue = divmod(name_number(name), 1 << 32)
    number, lightness = divmod(number, len(_LIGHTNESSES))
    saturation = _SATURATIONS[number % len(_SATURATIONS)]
    return hls_color(hue / (1 << 32), _LIGHTNESSES[lightness], saturation)


def name_number(name: str) -> int:
    """A hash of a name, 64 bits; the same for names that Unicode takes for the same (NFC)."""
    text = unicodedata.normalize('NFC', name).encode('utf-8', 'surrogatepass')
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), 'big')


def scale_colors(values: Sequence[float] | np.ndarray) -> list[Color]:
    """Colors of numbers, from blue for the smallest to red for the largest.

    Args:
        values: ``(N,)``, finite. Where all are equal, all are red.

    Returns:
        ``N`` RGB colors, 0..255.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return []
    low, high = values.min(), values.max()
    share = np.ones_like(values) if low == high else (values - low) / (high - low)
    return [hls_color(_COLD_HUE * (1 - part), 0.48, 0.95) for part in share]


def luminance(color: Color) -> float:
    """Relative luminance of an sRGB color, 0..1 (WCAG 2.1, "relative luminance").

    Args:
        color: RGB, 0..255.
    """
    values = np.asarray(color, dtype=float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast_ratio(one: Color, other: Color) -> float:
    """Contrast of two colors, 1..21 (WCAG 2.1, "contrast ratio")."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_color(background: Color) -> Color:
    """Black or white, whichever stands out: a contrast of at least 4.58 on any background.

    The worst background has the luminance at which both are equal, ``sqrt(1.05 * 0.05) - 0.05``.
    """
    return max((WHITE, BLACK), key=lambda color: contrast_ratio(color, background))


def parse_color(color: str | Sequence[int]) -> Color:
    """A color given as ``'#rrggbb'``, a name that Pillow knows, or RGB 0..255.

    Raises:
        ValueError: It is none of them.
    """
    from PIL import ImageColor

    if isinstance(color, str):
        return ImageColor.getrgb(color)[:3]
    values = tuple(int(value) for value in color)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"a color is '#rrggbb' or three numbers 0..255, not {color!r}")
    return values


def hls_color(hue: float, lightness: float, saturation: float) -> Color:
    """RGB, 0..255, of hue, lightness and saturation, 0..1."""
    return tuple(round(255 * v) for v in colorsys.hls_to_rgb(hue, lightness, saturation))
