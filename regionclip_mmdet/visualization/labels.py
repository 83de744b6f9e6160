# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Labels: rows of text, broken to fit, and a place for each where it hides no other label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .colors import Color
from .fonts import FontChain

MAX_LINES = 3
ELLIPSIS = '…'
# A label may move so many of its heights away from its box.
REACH = 4


@dataclass(frozen=True)
class Row:
    """One line of a label.

    Attributes:
        text: What is written.
        color: Background, RGB.
    """

    text: str
    color: Color


@dataclass(frozen=True)
class Label:
    """Rows under each other, laid out.

    Attributes:
        rows: From top to bottom.
        font_size: Height of the font in pixels.
        padding: Pixels left and right of the text.
        width: Of the label, in pixels.
        row_height: Of one row, in pixels.
    """

    rows: tuple[Row, ...]
    font_size: int
    padding: int
    width: int
    row_height: int

    @property
    def height(self) -> int:
        """Of the label, in pixels."""
        return self.row_height * len(self.rows)


def layout_label(
    rows: Sequence[Row], fonts: FontChain, font_size: int, max_width: int, max_height: int
) -> Label | None:
    """Break rows into lines that fit, at most three each.

    Args:
        rows: Wanted rows; empty texts are left out.
        fonts: What the text is drawn with.
        font_size: In pixels.
        max_width: Of the label, in pixels.
        max_height: Of the label, in pixels: rows that are too many are left out.

    Returns:
        None where there is nothing to write, or no room for a single row.
    """
    padding = max(2, font_size // 4)
    row_height = sum(fonts.line_height(font_size)) + 2 * (font_size // 10)
    room = max_width - 2 * padding
    lines = [
        Row(line, row.color)
        for row in rows
        for line in break_line(row.text, fonts, font_size, room)
    ][: max_height // row_height]
    if not lines:
        return None
    width = max(fonts.width(line.text, font_size) for line in lines)
    return Label(tuple(lines), font_size, padding, int(np.ceil(width)) + 2 * padding, row_height)


def break_line(
    text: str, fonts: FontChain, font_size: int, room: float, max_lines: int = MAX_LINES
) -> list[str]:
    """Break text between words, and words that are too long anywhere.

    Of too many lines the first and the last are kept, with an ellipsis between: names begin with
    what tells them apart, and a score stands at the end. A single line keeps its beginning.

    Args:
        text: White space of any kind separates words.
        fonts: What the text is drawn with.
        font_size: In pixels.
        room: Width of a line in pixels.
        max_lines: At least 1.
    """
    if fonts.width(text := ' '.join(text.split()), font_size) <= room:
        return [text] if text else []
    lines, line = [], ''
    for word in text.split(' '):
        longer = f'{line} {word}' if line else word
        if fonts.width(longer, font_size) <= room:
            line = longer
            continue
        if line:
            lines.append(line)
        while word and fonts.width(word, font_size) > room:
            fits = _fitting(word, fonts, font_size, room)
            if fits == 0:
                return []
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    lines += [line] if line else []
    if len(lines) <= max_lines:
        return lines
    tail = [] if max_lines == 1 else lines[-1:]
    whole = max_lines - 1 - len(tail)
    head = ' '.join(lines[whole : whole + 2])
    fits = _fitting(head, fonts, font_size, room - fonts.width(ELLIPSIS, font_size))
    return [*lines[:whole], head[:fits].rstrip() + ELLIPSIS, *tail]


def _fitting(text: str, fonts: FontChain, font_size: int, room: float) -> int:
    """Number of leading characters that fit."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if fonts.width(text[:middle], font_size) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def place_labels(
    boxes: np.ndarray, sizes: Sequence[tuple[int, int]], canvas: tuple[int, int]
) -> np.ndarray:
    """Places of labels, each in turn where it covers the least of those before it.

    Tried in this order: above its box, below, inside at the top, at the bottom and between, each
    from the box's left edge, its right edge and its middle; then beside the box, then away from it,
    the nearest first.

    Args:
        boxes: ``(N, 4)`` in pixels of the canvas.
        sizes: ``N`` pairs of width and height, none larger than the canvas.
        canvas: Width and height.

    Returns:
        Integers ``(N, 4)``, x1, y1, x2, y2, all inside the canvas.
    """
    placed = np.zeros((len(boxes), 4), dtype=int)
    for i, (box, (width, height)) in enumerate(zip(boxes, sizes, strict=True)):
        spots = _spots(box, width, height, canvas)
        hidden = _covered(spots, placed[:i])
        if hidden.min() > 0:
            spots = np.concatenate([spots, _surroundings(box, width, height, canvas)])
            hidden = _covered(spots, placed[:i])
        placed[i] = spots[hidden.argmin()]
    return placed


def _covered(spots: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Pixels that spots ``(M, 4)`` share with each of the places taken ``(T, 4)``, summed."""
    start = np.maximum(spots[:, None, :2], taken[None, :, :2])
    end = np.minimum(spots[:, None, 2:], taken[None, :, 2:])
    return (end - start).clip(min=0).prod(-1).sum(-1)


def _spots(box: np.ndarray, width: int, height: int, canvas: tuple[int, int]) -> np.ndarray:
    """Candidates for a label's place, the best first, ``(M, 4)``."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    inside = [y1, y2 - height, *range(y1 + height, y2 - 2 * height, height)]
    away = [y for i in range(1, REACH + 1) for y in (y1 - (1 + i) * height, y2 + i * height)]
    aligned = [x1, x2 - width, (x1 + x2 - width) // 2]
    beside = [x1 - width, x2]
    spots = [
        (left, y, left + width, y + height)
        for rows, columns in (
            ([y1 - height, y2, *inside], aligned),
            (inside, beside),
            ([y1 - height, y2, *away], [*beside, *aligned]),
        )
        for y in rows
        if 0 <= y <= canvas[1] - height
        for left in (min(max(x, 0), canvas[0] - width) for x in columns)
    ]
    if not spots:
        x = min(max(x1, 0), canvas[0] - width)
        y = min(max(y1, 0), canvas[1] - height)
        spots = [(x, y, x + width, y + height)]
    return np.array(spots)


def _surroundings(box: np.ndarray, width: int, height: int, canvas: tuple[int, int]) -> np.ndarray:
    """A grid of further candidates in and around a box, the nearest first, ``(M, 4)``."""
    step, reach = max(height // 2, 1), 2 * REACH * height
    low = np.maximum(box[:2] - reach, 0).astype(int)
    high = np.minimum(box[2:] + reach, canvas).astype(int) - (width, height)
    x, y = np.meshgrid(*(np.arange(a, max(b, a - 1) + 1, step) for a, b in zip(low, high)))
    spots = np.stack([x, y, x + width, y + height], -1).reshape(-1, 4)
    gaps = np.maximum(box[:2] - spots[:, 2:], spots[:, :2] - box[2:]).clip(min=0)
    return spots[np.argsort(np.hypot(*gaps.T), kind='stable')]
