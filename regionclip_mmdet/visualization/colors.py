# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Colors of names, no two of an image alike, and text that can be read on any of them."""

from __future__ import annotations

import colorsys
import functools
import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import ImageColor

Color = tuple[int, int, int]
BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
# Between pale and dark, so that neither a bright nor a dark image swallows a box.
_LIGHTNESSES = (0.36, 0.48, 0.6)
_SATURATIONS = (0.95, 0.7)
# From far from an object to on one: blue, green, yellow, red (hues falling from 240 to 0 degrees).
_COLD_HUE = 240 / 360
# CIE76: the distance of two colors in CIE L*a*b* (D65).
MIN_DIFFERENCE = 20.0
# Of colors for names that give way.
_SPARE_HUES = 60
_SPARE_LIGHTNESSES = (0.3, 0.36, 0.42, 0.48, 0.54, 0.6, 0.66, 0.72)
_SPARE_SATURATIONS = (0.95, 0.7, 0.5, 0.3)
# Linear sRGB to XYZ relative to the white D65 (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])


def name_color(name: str) -> Color:
    """The color of a name by itself: the same in every process and vocabulary.

    In an image it has this one unless another name there is too near (``assign_colors``).

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


def assign_colors(names: Iterable[str]) -> dict[str, Color]:
    """A color for each name of an image, any two at least ``MIN_DIFFERENCE`` apart.

    A name has the color of ``name_color`` unless a name that comes before it is too near; which of
    two comes first is settled by a hash, once for all images. One that must give way takes the
    nearest color that is free. So the same names have the same colors, whatever their order, and a
    further name changes few or none of them. With so many names that no color is free (hundreds),
    the freest is taken.

    Args:
        names: Any strings, also several times. Those that Unicode takes for the same (NFC) have
            the same color.

    Returns:
        RGB by name, 0..255.
    """
    spelled = {name: unicodedata.normalize('NFC', name) for name in names}
    found = _choose(frozenset(spelled.values()))
    return {name: found[same] for name, same in spelled.items()}


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
    return float(_linear(color) @ [0.2126, 0.7152, 0.0722])


def _linear(colors: Color | np.ndarray) -> np.ndarray:
    """Linear RGB, 0..1, of sRGB colors ``(..., 3)``, 0..255."""
    values = np.asarray(colors, dtype=float) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_lab(colors: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) ``(N, 3)`` of sRGB colors ``(N, 3)``, 0..255."""
    xyz = _linear(colors) @ _XYZ.T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


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
    if isinstance(color, str):
        red, green, blue = ImageColor.getrgb(color)[:3]
        return red, green, blue
    if len(color) != 3 or not all(0 <= value <= 255 for value in color):
        raise ValueError(f"a color is '#rrggbb' or three numbers 0..255, not {color!r}")
    return int(color[0]), int(color[1]), int(color[2])


def hls_color(hue: float, lightness: float, saturation: float) -> Color:
    """RGB, 0..255, of hue, lightness and saturation, 0..1."""
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.lru_cache(maxsize=256)
def _choose(names: frozenset[str]) -> dict[str, Color]:
    ranked = sorted(names, key=lambda name: (name_number(name), name))
    chosen = {name: name_color(name) for name in ranked}
    if len(ranked) < 2:
        return chosen
    own = to_lab(np.array(list(chosen.values())))
    taken = np.zeros((0, 3))
    given_way = []
    for i in range(len(ranked)):
        if _gaps(own[i : i + 1], taken)[0] >= MIN_DIFFERENCE:
            taken = np.concatenate([taken, own[i : i + 1]])
        else:
            given_way.append(i)
    if not given_way:
        return chosen
    colors, spare = _spare_colors()
    gaps = _gaps(spare, taken)
    for i in given_way:
        free = np.flatnonzero(gaps >= MIN_DIFFERENCE)
        if len(free):
            pick = free[np.linalg.norm(spare[free] - own[i], axis=1).argmin()]
        else:
            pick = gaps.argmax()
        chosen[ranked[i]] = colors[pick]
        gaps = np.minimum(gaps, np.linalg.norm(spare - spare[pick], axis=1))
    return chosen


def _gaps(points: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Distance ``(N,)`` of each point ``(N, 3)`` to the nearest of those taken ``(T, 3)``."""
    return np.linalg.norm(points[:, None] - taken, axis=2).min(axis=1, initial=np.inf)


@functools.cache
def _spare_colors() -> tuple[list[Color], np.ndarray]:
    """Colors for names that give way, and their places in L*a*b*."""
    colors = [
        hls_color(hue / _SPARE_HUES, lightness, saturation)
        for lightness in _SPARE_LIGHTNESSES
        for saturation in _SPARE_SATURATIONS
        for hue in range(_SPARE_HUES)
    ]
    return colors, to_lab(np.array(colors))
