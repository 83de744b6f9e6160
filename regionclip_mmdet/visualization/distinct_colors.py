# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Colors of the names of one picture, no two of them alike."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

import numpy as np

from .colors import Color, hls_color, name_color, name_number

# CIE76: the distance of two colors in CIE L*a*b* (D65).
MIN_DIFFERENCE = 20.0
_HUES = 60
_LIGHTNESSES = (0.3, 0.36, 0.42, 0.48, 0.54, 0.6, 0.66, 0.72)
_SATURATIONS = (0.95, 0.7, 0.5, 0.3)
# Linear sRGB to XYZ relative to the white D65 (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])


def picture_colors(names: Iterable[str]) -> dict[str, Color]:
    """A color for each name of a picture, any two at least ``MIN_DIFFERENCE`` apart.

    A name has the color of ``name_color`` unless a name that comes before it is too near; which of
    two comes first is settled by a hash, once for all pictures. One that must give way takes the
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


def to_lab(colors: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) ``(N, 3)`` of sRGB colors ``(N, 3)``, 0..255."""
    values = np.asarray(colors, dtype=float).reshape(-1, 3) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ.T
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


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
    colors, spare = _spare_colors()
    gaps = _gaps(spare, taken) if given_way else None
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
        hls_color(hue / _HUES, lightness, saturation)
        for lightness in _LIGHTNESSES
        for saturation in _SATURATIONS
        for hue in range(_HUES)
    ]
    return colors, to_lab(np.array(colors))
