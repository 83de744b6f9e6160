# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A picture of some image-text pairs, to look at data before training on them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ..transforms.load_image import decode_rgb

TILE = 256
_MARGIN = 10
_FONT_SIZE = 13
_LINE = 17
_CAPTION_LINES = 4
_PAPER, _INK, _FAINT, _ALARM = 'white', 'black', (110, 110, 110), (190, 0, 0)


def contact_sheet(dataset: Any, number: int = 24, seed: int = 0, columns: int = 6) -> Image.Image:
    """Random pairs with their keys and first captions.

    Args:
        dataset: ``ImageTextShards`` or ``ImageTextTSV``.
        number: Pairs, drawn without repetition.
        seed: The same one draws the same pairs.
        columns: Pairs in a row.

    Returns:
        An RGB picture; letters that DejaVu Sans lacks (Chinese, ...) are boxes. Images appear as
        training sees them, turned by their EXIF orientation; of one that cannot be decoded the
        reason is written in its place.
    """
    number = min(number, len(dataset))
    chosen = np.random.default_rng(seed).choice(len(dataset), number, replace=False)
    columns = min(columns, number)
    rows = -(-number // columns)
    width, height = TILE + _MARGIN, TILE + _MARGIN + (1 + _CAPTION_LINES) * _LINE
    sheet = Image.new('RGB', (columns * width + _MARGIN, rows * height + _MARGIN), _PAPER)
    for place, idx in enumerate(chosen.tolist()):
        row, column = divmod(place, columns)
        _draw(sheet, (_MARGIN + column * width, _MARGIN + row * height), dataset, idx)
    return sheet


def _draw(sheet: Image.Image, corner: tuple[int, int], dataset: Any, idx: int) -> None:
    left, top = corner
    pen = ImageDraw.Draw(sheet)
    try:
        image = Image.fromarray(decode_rgb(dataset.image_bytes(idx)))
        image.thumbnail((TILE, TILE))
        offsets = ((TILE - side) // 2 for side in image.size)
        sheet.paste(image, tuple(start + offset for start, offset in zip(corner, offsets)))
    except Exception as error:  # damaged files make decoders raise whatever they like
        pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=_ALARM)
        for line, text in enumerate(wrap(f'{type(error).__name__}: {error}', TILE - 8, 8)):
            pen.text((left + 4, top + 4 + line * _LINE), text, _ALARM, _font())
    try:
        item = dataset.get_data_info(idx)
        name, captions = item['img_id'], item['captions']
    except OSError as error:
        name, captions = dataset.image_name(idx), [str(error)]
    more = f' (+{len(captions) - 1})' if len(captions) > 1 else ''
    lines = [_end_of(name), *wrap(captions[0] + more, TILE, _CAPTION_LINES)]
    for line, text in enumerate(lines):
        color = _INK if line else _FAINT
        pen.text((left, top + TILE + 2 + line * _LINE), text, color, _font())


def wrap(text: str, width: float, lines: int) -> list[str]:
    """Text in lines no wider than so many pixels; what is cut off is marked by three dots.

    Args:
        text: White space in it may become a line's end; words too long are cut anywhere.
        width: Pixels.
        lines: At most so many.
    """
    length = _font().getlength
    found = ['']
    for word in ' '.join(text.split()).split(' '):
        joined = f'{found[-1]} {word}'.strip()
        if length(joined) <= width:
            found[-1] = joined
            continue
        if found[-1]:
            found.append('')
        for letter in word:
            if length(found[-1] + letter) > width:
                found.append('')
            found[-1] += letter
    if len(found) > lines:
        found = found[:lines]
        while found[-1] and length(found[-1] + '...') > width:
            found[-1] = found[-1][:-1]
        found[-1] += '...'
    return found


def _end_of(name: str) -> str:
    """A name without what does not fit at its beginning."""
    shown = name
    while _font().getlength(shown) > TILE:
        name = name[1:]
        shown = f'...{name}'
    return shown


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    """That of matplotlib: it has Latin, Greek and Cyrillic, and is everywhere the same."""
    return ImageFont.truetype(font_manager.findfont('DejaVu Sans'), _FONT_SIZE)
