# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A contact sheet of the regions that were found for some names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..datasets.transforms.load_image import decode_rgb
from ..visualization import (
    Caption,
    Mark,
    Style,
    assign_colors,
    contact_sheet,
    draw_marks,
    make_tile,
)
from .images import printable
from .search import Hit

TILE = 144
# What is shown around a box, as a share of its longer side.
_MARGIN = 0.35
_NOTHING = 235


def draw_hits(found: Sequence[Sequence[Hit]], columns: int = 6) -> Image.Image:
    """The regions of each name, best first, with a little of what is around them.

    Below each stand its rank, its cosine and the image; of an image that cannot be read the tile
    shows the error. Names without regions are left out.

    Args:
        found: what ``search_regions`` returns.
        columns: regions in a row.

    Raises:
        ValueError: there is no region at all.
    """
    found = [hits for hits in found if hits]
    if not found:
        raise ValueError('there is no region to draw: the features hold none.')
    columns = min(columns, max(map(len, found)))
    colors = assign_colors(hits[0].name for hits in found)
    return Image.fromarray(
        np.concatenate(
            [
                contact_sheet(
                    [_tile(hit, colors[hit.name]) for hit in hits], columns, title=hits[0].name
                )
                for hits in found
            ]
        )
    )


def _tile(hit: Hit, color: tuple[int, int, int]) -> np.ndarray:
    image: np.ndarray | Exception
    try:
        with open(hit.full_path, 'rb') as file:
            image = _crop(decode_rgb(file.read()), hit.box, color)
    except Exception as error:  # damaged files make decoders raise whatever they like
        image = error
    lines = (f'{hit.rank}: {hit.cosine:.3f}', printable(hit.path).rsplit('/', 1)[-1])
    return make_tile(image, map(Caption, lines), TILE)


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
    drawn = (
        (x1 - left) * scale,
        (y1 - top) * scale,
        (x2 - left) * scale,
        (y2 - top) * scale,
    )
    return draw_marks(np.asarray(canvas), [Mark(drawn, color)], Style(line_width=2))
