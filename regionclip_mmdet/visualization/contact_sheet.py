# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Many small images with text on one sheet: tiles, and rows of tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from .colors import BLACK, Color
from .views import text_strip

ALARM: Color = (190, 0, 0)
FAINT: Color = (110, 110, 110)


class Caption(NamedTuple):
    """Text below a tile.

    Attributes:
        text: The text; what does not fit is replaced by an ellipsis, in the middle if there are
            several lines and at the end of a single one.
        color: RGB, or ``'#rrggbb'``.
        max_lines: Maximum number of lines.
    """

    text: str
    color: Color | str = BLACK
    max_lines: int = 1


def make_tile(
    image: np.ndarray | Exception,
    captions: Iterable[Caption] = (),
    side: int = 256,
    font_size: int = 13,
) -> np.ndarray:
    """One square of a contact sheet, with text below it.

    Args:
        image: uint8 RGB ``(H, W, 3)``, shrunk to fit and centered on white; or the exception that
            reading it raised, written into a red frame.
        captions: Texts below the image.
        side: Width and height of the square in pixels.
        font_size: Font height of captions and of the error in pixels.

    Returns:
        uint8 RGB ``(side + height of the captions, side, 3)``.
    """
    square = Image.new('RGB', (side, side), 'white')
    if isinstance(image, Exception):
        square.paste(ALARM, (0, 0, side, side))
        text = f'{type(image).__name__}: {image}'
        room = np.empty((1, side - 2, 3), np.uint8)
        strip = text_strip(text, room, ALARM, font_size=font_size, max_lines=8)
        inside = Image.new('RGB', (side - 2, side - 2), 'white')
        inside.paste(Image.fromarray(strip))
        square.paste(inside, (1, 1))
    else:
        small = Image.fromarray(image)
        small.thumbnail((side, side))
        square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    tile = np.array(square)
    strips = [text_strip(text, tile, color, None, font_size, n) for text, color, n in captions]
    return np.concatenate([tile, *strips])


def contact_sheet(
    tiles: Sequence[np.ndarray], columns: int, gap: int = 8, title: str = '', title_size: int = 17
) -> np.ndarray:
    """Arrange tiles in rows on white.

    Sheets of tiles of one width and the same number of columns are equally wide and can be
    concatenated.

    Args:
        tiles: uint8 RGB ``(H_i, W_i, 3)``, at least one, in reading order.
        columns: Number of tiles in a row.
        gap: Pixels between tiles and around them.
        title: Text above the tiles.
        title_size: Font height of the title in pixels.

    Returns:
        uint8 RGB ``(H, columns * (W + gap) + gap, 3)``, ``W`` being the width of the widest tile;
        a row is as high as its highest tile.
    """
    pitch = max(tile.shape[1] for tile in tiles) + gap
    width = columns * pitch + gap
    top = np.full((gap, width, 3), 255, dtype=np.uint8)
    parts = [text_strip(title, top, font_size=title_size) if title else top]
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        strip = np.full((max(map(len, row)) + gap, width, 3), 255, dtype=np.uint8)
        for i, tile in enumerate(row):
            left = gap + i * pitch
            strip[: len(tile), left : left + tile.shape[1]] = tile
        parts.append(strip)
    return np.concatenate(parts)
