# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pictures of the report: boxes with names on enlarged images, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

# Colours of meaning, the same in every picture of the report.
BASE_COLOUR = '#1f6fb4'
NOVEL_COLOUR = '#d9730d'
WRONG_COLOUR = '#c22f3a'
RIGHT_COLOUR = '#2a8a4a'
NEUTRAL_COLOUR = '#5b6470'
FONT_SIZE = 17


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont('DejaVu Sans'), size)


def _label_corner(
    box: Sequence[float], size: tuple[float, float], canvas: tuple[int, int], taken: list[tuple]
) -> tuple[float, float]:
    """Where a label fits: above its box, else below, else inside; clear of other labels."""
    width, height = size
    x = min(max(box[0], 0), canvas[0] - width)
    spots = [box[1] - height, box[3], box[1], box[3] - height]
    spots = [y for y in spots if 0 <= y <= canvas[1] - height] or [0]
    for y in spots:
        if not any(x < t[2] and x + width > t[0] and y < t[3] and y + height > t[1] for t in taken):
            return x, y
    return x, spots[0]


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str],
    colours: Sequence[str],
    scale: float = 4.0,
    font_size: int = FONT_SIZE,
) -> Image.Image:
    """Enlarge an image, then draw boxes and labels on it (so that they stay sharp).

    Args:
        image: The image.
        boxes: ``(x1, y1, x2, y2)`` in pixels of ``image``.
        labels: One per box; may be empty strings.
        colours: One per box, ``'#rrggbb'``.
        scale: Enlargement.
        font_size: Height of the label's font in enlarged pixels.
    """
    side = (round(image.width * scale), round(image.height * scale))
    canvas = image.convert('RGB').resize(side, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    font = _font(font_size)
    scaled = [[v * scale for v in box] for box in boxes]
    # Room for both outlines, however thin the box.
    scaled = [[x1, y1, max(x2, x1 + 4), max(y2, y1 + 4)] for x1, y1, x2, y2 in scaled]
    for box, colour in zip(scaled, colours):
        draw.rectangle(box, outline='white', width=5)
        draw.rectangle([box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1], outline=colour, width=3)
    taken: list[tuple] = []
    for box, label, colour in zip(scaled, labels, colours):
        if not label:
            continue
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        size = (right - left + 10, bottom - top + 8)
        x, y = _label_corner(box, size, canvas.size, taken)
        taken.append((x, y, x + size[0], y + size[1]))
        draw.rectangle(taken[-1], fill=colour)
        draw.text((x + 5 - left, y + 4 - top), label, fill='white', font=font)
    return canvas


def titled(image: Image.Image, title: str, colour: str = '#20262d') -> Image.Image:
    """Put a line of text above an image."""
    font = _font(18)
    canvas = Image.new('RGB', (image.width, image.height + 34), 'white')
    ImageDraw.Draw(canvas).text((2, 4), title, fill=colour, font=font)
    canvas.paste(image, (0, 34))
    return canvas


def contact_sheet(images: Sequence[Image.Image], columns: int, gap: int = 14) -> Image.Image:
    """Lay equally sized images out in rows."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new('RGB', (columns * (width + gap) - gap, rows * (height + gap) - gap), 'white')
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (width + gap), i // columns * (height + gap)))
    return sheet


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean whose window shrinks at both ends, so that the length stays."""
    values = np.asarray(values, dtype=float)
    kernel = np.ones(max(1, min(window, len(values))))
    weight = np.convolve(np.ones_like(values), kernel, mode='same')
    return np.convolve(values, kernel, mode='same') / weight


def draw_curves(
    panels: Sequence[tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]], path: Path
) -> None:
    """Loss curves, one panel per stage.

    Args:
        panels: Title and named curves ``(steps, values)`` of every panel.
        path: File to write.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.4 * columns, 3.1 * rows), squeeze=False)
    palette = [BASE_COLOUR, NOVEL_COLOUR, RIGHT_COLOUR, '#7d4aa8', NEUTRAL_COLOUR]
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, curves) in zip(axes.flat, panels):
        for (name, (steps, values)), colour in zip(curves.items(), palette):
            axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
            window = max(1, len(values) // 20)
            axis.plot(steps, smooth(values, window), color=colour, linewidth=1.8, label=name)
        axis.set_title(title, fontsize=11, loc='left')
        axis.set_xlabel('step', fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
        if curves:
            axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
