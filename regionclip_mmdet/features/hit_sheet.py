# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A picture of the regions that were found for some names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..datasets.transforms.load_image import decode_rgb
from ..visualization import Mark, Style, draw_marks, picture_colors, text_strip
from .images import printable
from .search import Hit

TILE = 144
_GAP = 8
_FONT_SIZE = 13
_TITLE_SIZE = 17
# What is shown around a box, as a share of its longer side.
_MARGIN = 0.35
_NOTHING = 235


def draw_hits(found: Sequence[Sequence[Hit]], columns: int = 6) -> Image.Image:
    """The regions of each name, best first, with a little of what is around them.

    Below each stand its rank, its cosine and the image; an image that cannot be read is a gray
    tile. Names without regions are left out.

    Args:
        found: Of ``search_regions``.
        columns: Regions in a row.

    Raises:
        ValueError: There is no region at all.
    """
    found = [hits for hits in found if hits]
    if not found:
        raise ValueError('there is no region to draw: the features hold none.')
    columns = min(columns, max(map(len, found)))
    width = columns * (TILE + _GAP) + _GAP
    blank = np.full((1, width, 3), 255, dtype=np.uint8)
    strips = []
    colors = picture_colors(hits[0].name for hits in found)
    for hits in found:
        color = colors[hits[0].name]
        strips.append(text_strip(hits[0].name, blank, font_size=_TITLE_SIZE))
        tiles = [_tile(hit, color) for hit in hits]
        height = max(len(tile) for tile in tiles)
        for start in range(0, len(tiles), columns):
            row = np.full((height + _GAP, width, 3), 255, dtype=np.uint8)
            for place, tile in enumerate(tiles[start : start + columns]):
                left = _GAP + place * (TILE + _GAP)
                row[: len(tile), left : left + TILE] = tile
            strips.append(row)
    return Image.fromarray(np.concatenate(strips))


def _tile(hit: Hit, color: tuple[int, int, int]) -> np.ndarray:
    try:
        with open(hit.full_path, 'rb') as file:
            image = decode_rgb(file.read())
        picture = _crop(image, hit.box, color)
    except Exception:  # damaged files make decoders raise whatever they like
        picture = np.full((TILE, TILE, 3), _NOTHING, dtype=np.uint8)
    lines = (f'{hit.rank}: {hit.cosine:.3f}', printable(hit.path).rsplit('/', 1)[-1])
    strips = [text_strip(line, picture, font_size=_FONT_SIZE, max_lines=1) for line in lines]
    return np.concatenate([picture, *strips])


def _crop(image: np.ndarray, box: Sequence[float], color: tuple[int, int, int]) -> np.ndarray:
    """A square part of an image around a box, of the size of a tile, with the box drawn."""
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * _MARGIN)
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    scale = TILE / side
    # beyond the image's border it is gray, so that the middle is the box's
    whole = Image.fromarray(image)
    canvas = Image.new('RGB', (TILE, TILE), (_NOTHING,) * 3)
    seen = (max(left, 0), max(top, 0), min(left + side, whole.width), min(top + side, whole.height))
    size = [max(round((seen[i + 2] - seen[i]) * scale), 1) for i in (0, 1)]
    part = whole.resize(size, Image.Resampling.BICUBIC, box=seen)
    canvas.paste(part, (round((seen[0] - left) * scale), round((seen[1] - top) * scale)))
    mark = Mark(
        tuple((value - start) * scale for value, start in zip(box, (left, top, left, top))), color
    )
    return draw_marks(np.asarray(canvas), [mark], Style(line_width=2))
