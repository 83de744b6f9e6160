# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pictures of the report: boxes with names on enlarged images, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from regionclip_mmdet.visualization import draw_detections, text_strip

# Colors of meaning, the same in every picture of the report.
BASE_COLOR = '#1f6fb4'
NOVEL_COLOR = '#d9730d'
WRONG_COLOR = '#c22f3a'
RIGHT_COLOR = '#2a8a4a'
NEUTRAL_COLOR = '#5b6470'
FONT_SIZE = 17


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str],
    colors: Sequence[str],
    scale: float = 4.0,
) -> Image.Image:
    """Boxes and labels on an enlarged image, with the report's letters and lines.

    Args:
        image: The image.
        boxes: ``(x1, y1, x2, y2)`` in pixels of ``image``.
        labels: One per box; may be empty strings.
        colors: One per box, ``'#rrggbb'``.
        scale: Enlargement.
    """
    pixels = np.asarray(image.convert('RGB'))
    style = dict(scale=scale, font_size=FONT_SIZE, line_width=3)
    return Image.fromarray(draw_detections(pixels, boxes, labels, colors=colors, **style))


def titled(image: Image.Image, title: str, color: str = '#20262d') -> np.ndarray:
    """Put a line of text above an image; without text an empty one, so that sizes are equal."""
    pixels = np.asarray(image.convert('RGB'))
    strip = text_strip(title, pixels, color, font_size=18, max_lines=1)
    return np.concatenate([strip, pixels])


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
    palette = [BASE_COLOR, NOVEL_COLOR, RIGHT_COLOR, '#7d4aa8', NEUTRAL_COLOR]
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, curves) in zip(axes.flat, panels):
        for (name, (steps, values)), color in zip(curves.items(), palette):
            axis.plot(steps, values, color=color, alpha=0.22, linewidth=0.8)
            window = max(1, len(values) // 20)
            axis.plot(steps, smooth(values, window), color=color, linewidth=1.8, label=name)
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
