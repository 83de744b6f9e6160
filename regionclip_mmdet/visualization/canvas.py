# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Boxes with labels on an image of any size: what all views are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .colors import Color, text_color
from .fonts import FontChain, FontPath
from .labels import Label, Row, layout_label, place_labels

# Below this no letter can be told from another.
MIN_FONT_SIZE = 11
# Many labels are written smaller, down to this share.
FEW_LABELS, SMALLEST_SHARE = 15, 0.7


@dataclass(frozen=True)
class Mark:
    """A box with its label.

    Attributes:
        box: ``(x1, y1, x2, y2)`` in pixels of the image.
        color: Of the outline, RGB.
        rows: The label's rows; none for no label.
    """

    box: tuple[float, float, float, float]
    color: Color
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Style:
    """How marks are drawn.

    Attributes:
        min_side: Images whose short side is smaller are enlarged by a whole factor to at least
            this; None keeps the size.
        scale: Enlargement of the image, on top of ``min_side``.
        font: File of a font, or several; see ``FontChain``.
        font_size: In pixels of the visualization; None: a fortieth of its size (the root of its
            area), somewhat less with many labels, never below 11.
        line_width: In pixels of the visualization; None: a 300th of its size, at least 1.
    """

    min_side: int | None = None
    scale: float = 1.0
    font: FontPath | Sequence[FontPath] | None = None
    font_size: int | None = None
    line_width: int | None = None

    def enlargement(self, size: tuple[int, int]) -> float:
        """How many times larger an image of this width and height is drawn."""
        whole = math.ceil(self.min_side / min(size)) if self.min_side else 1
        return self.scale * max(whole, 1)

    def font_pixels(self, size: tuple[int, int], num_labels: int) -> int:
        """Height of the font on an image of this width and height."""
        if self.font_size:
            return self.font_size
        share = max(SMALLEST_SHARE, min(1.0, math.sqrt(FEW_LABELS / max(num_labels, 1))))
        return max(MIN_FONT_SIZE, round(math.sqrt(size[0] * size[1]) / 40 * share))

    def line_pixels(self, size: tuple[int, int]) -> int:
        """Width of lines on an image of this width and height."""
        return self.line_width or max(1, round(math.sqrt(size[0] * size[1]) / 300))


def draw_marks(image: np.ndarray, marks: Sequence[Mark], style: Style | None = None) -> np.ndarray:
    """Draw boxes with their labels; the image given is not changed.

    Boxes are cut at the image's border, and those wholly outside are left out. The first marks get
    the best places and lie on top.

    Args:
        image: uint8 ``(H, W, 3)`` RGB, or ``(H, W)`` gray.
        marks: The most important first.
        style: Sizes and font.

    Returns:
        uint8 RGB ``(H', W', 3)``; larger than the image only if the style enlarges it.

    Raises:
        ValueError: The image is not uint8, or a box is not finite.
    """
    style = style or Style()
    canvas = enlarged(image, style)
    scale = style.enlargement(image.shape[1::-1])
    marks = _inside(marks, scale, canvas.size)
    if not marks:
        return np.array(canvas)
    fonts = FontChain(style.font)
    line = style.line_pixels(canvas.size)
    draw = ImageDraw.Draw(canvas)
    for mark in reversed(marks):
        _outline(draw, mark, line)
    labels, places = plan_labels(marks, canvas.size, fonts, style)
    for mark, label, place in reversed(list(zip(marks, labels, places, strict=True))):
        if label is not None:
            _leader(draw, mark, place, line)
            paint_label(draw, label, place, fonts)
    return np.array(canvas)


def plan_labels(
    marks: Sequence[Mark], canvas: tuple[int, int], fonts: FontChain, style: Style
) -> tuple[list[Label | None], list[np.ndarray]]:
    """Lay labels out and find places for them.

    Args:
        marks: In pixels of the canvas, the most important first.
        canvas: Width and height.
        fonts: What is written with.
        style: Sizes.

    Returns:
        Per mark its label and its place, integers ``(4,)``; None and zeros where there is none.
    """
    size = style.font_pixels(canvas, sum(len(mark.rows) for mark in marks))
    labels = []
    for mark in marks:
        wide = max(0.4 * canvas[0], mark.box[2] - mark.box[0], 12 * size)
        width = int(min(canvas[0], wide))
        labels.append(layout_label(mark.rows, fonts, size, width, canvas[1]))
    shown = {i: label for i, label in enumerate(labels) if label is not None}
    found = place_labels(
        np.array([marks[i].box for i in shown]).reshape(-1, 4),
        [(label.width, label.height) for label in shown.values()],
        canvas,
    )
    places = [np.zeros(4, dtype=int)] * len(marks)
    for i, place in zip(shown, found):
        places[i] = place
    return labels, places


def enlarged(image: np.ndarray, style: Style) -> Image.Image:
    """The image in RGB and in the size in which it is drawn on."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f'an image to be drawn on is uint8 (H, W, 3), RGB, not {image.dtype} {image.shape}'
        )
    canvas = Image.fromarray(np.ascontiguousarray(image)).convert('RGB')
    scale = style.enlargement(canvas.size)
    if scale == 1:
        return canvas
    size = (round(canvas.width * scale), round(canvas.height * scale))
    return canvas.resize(size, Image.Resampling.BICUBIC)


def paint_label(
    draw: ImageDraw.ImageDraw, label: Label, place: Sequence[int], fonts: FontChain
) -> None:
    """Write a label at its place."""
    x1, y1, x2, _ = (int(v) for v in place)
    ascent, _ = fonts.line_height(label.font_size)
    for i, row in enumerate(label.rows):
        top = y1 + i * label.row_height
        draw.rectangle([x1, top, x2 - 1, top + label.row_height - 1], fill=row.color)
        x = float(x1 + label.padding)
        baseline = top + label.font_size // 10 + ascent
        for piece, font in fonts.runs(row.text, label.font_size):
            draw.text((x, baseline), piece, fill=text_color(row.color), font=font, anchor='ls')
            x += font.getlength(piece)


def _inside(marks: Sequence[Mark], scale: float, canvas: tuple[int, int]) -> list[Mark]:
    """Marks in pixels of the canvas, cut at its border."""
    limit = np.array([*canvas, *canvas], dtype=float)
    kept = []
    for i, mark in enumerate(marks):
        box = np.asarray(mark.box, dtype=float) * scale
        if not np.isfinite(box).all():
            raise ValueError(f'box {i} is not finite: {tuple(mark.box)}')
        if (box[2:] < 0).any() or (box[:2] > limit[:2]).any():
            continue
        kept.append(Mark(tuple(box.clip(0, limit)), mark.color, mark.rows))
    return kept


def _outline(draw: ImageDraw.ImageDraw, mark: Mark, line: int) -> None:
    """The box, with a rim on either side of the line: visible on a ground of its own color."""
    rim = line // 2
    limit = (draw.im.size[0] - 1, draw.im.size[1] - 1)
    x1, y1, x2, y2 = (round(v) for v in mark.box)
    x1, y1 = min(x1, limit[0]), min(y1, limit[1])
    # the last pixel of a box lies before its end
    x2, y2 = min(max(x2 - 1, x1), limit[0]), min(max(y2 - 1, y1), limit[1])
    if rim:
        start = (max(x1 - rim, 0), max(y1 - rim, 0))
        outside = [*start, min(x2 + rim, limit[0]), min(y2 + rim, limit[1])]
        draw.rectangle(outside, outline=text_color(mark.color), width=line + 2 * rim)
    draw.rectangle([x1, y1, x2, y2], outline=mark.color, width=line)


def _leader(draw: ImageDraw.ImageDraw, mark: Mark, place: Sequence[int], line: int) -> None:
    """A line from a label to its box, where they do not touch."""
    x1, y1, x2, y2 = mark.box
    start = _nearest((x1 + x2) / 2, (y1 + y2) / 2, place)
    end = _nearest(*start, mark.box)
    if math.dist(start, end) > 1:
        draw.line([start, end], fill=mark.color, width=line)


def _nearest(x: float, y: float, box: Sequence[float]) -> tuple[float, float]:
    """The point of a box nearest to a point."""
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
