# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Visualizations of detections, classified regions, proposals and pseudo labels.

All functions take and return uint8 RGB images and leave the image they are given as it is. Boxes
are ``(x1, y1, x2, y2)`` in the image's pixels; arrays and tensors on any device will do. Sizes of
letters and lines follow the image; keyword arguments ``min_side``, ``scale``, ``font``,
``font_size`` and ``line_width`` are those of ``Style``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Mark, Style, draw_marks
from .colors import BLACK, WHITE, Color, assign_colors, parse_color, scale_colors
from .fonts import FontChain
from .labels import Row, break_line
from .regions import group_regions


def draw_detections(
    image: np.ndarray,
    boxes: Any,
    names: Sequence[str],
    scores: Any = None,
    colors: Sequence[str | Color] | None = None,
    **style: Any,
) -> np.ndarray:
    """Draw boxes with a name each, and scores if there are any.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: ``(N, 4)``.
        names: ``N`` names, in any script; an empty one and no score: no label.
        scores: ``(N,)`` or None. Better ones lie on top.
        colors: ``N`` colors, for another meaning than the name; ``'#rrggbb'`` or RGB. None: those
            of ``assign_colors``.
        **style: See the module.

    Raises:
        ValueError: Not as many names, scores or colors as boxes; a box that is not finite; an
            image that is not uint8.
    """
    boxes, names = as_array(boxes).reshape(-1, 4), list(names)
    scores = None if scores is None else as_array(scores).reshape(-1)
    for what, values in (('names', names), ('scores', scores), ('colors', colors)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f'{len(boxes)} boxes but {len(values)} {what}')
    if colors is None:
        of_name = assign_colors(names)
        colors = [of_name[name] for name in names]
    parsed = [parse_color(color) for color in colors]
    texts = names if scores is None else [labeled(n, s) for n, s in zip(names, scores)]
    order = range(len(boxes)) if scores is None else np.argsort(-scores, kind='stable')
    marks = [Mark(tuple(boxes[i].tolist()), parsed[i], (Row(texts[i], parsed[i]),)) for i in order]
    return draw_marks(image, marks, Style(**style))


def draw_regions(
    image: np.ndarray,
    boxes: Any,
    names: Sequence[str],
    scores: Any,
    topk: int = 3,
    iou: float = 1.0,
    colors: Mapping[str, Color] | None = None,
    **style: Any,
) -> np.ndarray:
    """Draw every place once, with its best names under each other.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: ``(N, 4)``, the same box again for every name of a region.
        names: ``N`` names.
        scores: ``(N,)``.
        topk: Names per box.
        iou: Put boxes together that overlap so much; 1: only equal ones. See ``group_regions``.
        colors: By name; None: ``assign_colors`` of the names that are shown.
        **style: See the module.

    Raises:
        ValueError: As ``draw_detections`` and ``group_regions``.
    """
    regions = group_regions(as_array(boxes), list(names), as_array(scores), topk, iou)
    if colors is None:
        colors = assign_colors(name for region in regions for name in region.names)
    marks = []
    for region in regions:
        rows = [
            Row(labeled(name, score), colors[name])
            for name, score in zip(region.names, region.scores)
        ]
        marks.append(Mark(region.box, rows[0].color, tuple(rows)))
    return draw_marks(image, marks, Style(**style))


def draw_proposals(
    image: np.ndarray,
    boxes: Any,
    objectness: Any = None,
    max_boxes: int = 50,
    num_labels: int = 3,
    **style: Any,
) -> np.ndarray:
    """Draw the best proposals: red where the localizer is surest, blue where it is least sure.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: ``(N, 4)``.
        objectness: Logits or probabilities ``(N,)``; None: the order is theirs and all are red.
        max_boxes: The first so many by objectness are drawn.
        num_labels: The first so many have their objectness written beside them.
        **style: See the module.

    Raises:
        ValueError: Not as many numbers as boxes, or as ``draw_detections``.
    """
    boxes = as_array(boxes).reshape(-1, 4)
    if objectness is None:
        chosen, texts = np.arange(len(boxes))[:max_boxes], []
        colors = scale_colors(np.ones(len(chosen)))
    else:
        values = as_array(objectness).reshape(-1)
        if len(values) != len(boxes):
            raise ValueError(f'{len(boxes)} boxes but {len(values)} values of objectness')
        chosen = np.argsort(-values, kind='stable')[:max_boxes]
        colors = scale_colors(values[chosen])
        texts = [f'{values[i]:.2f}' for i in chosen[:num_labels]]
    texts += [''] * (len(chosen) - len(texts))
    marks = [
        Mark(tuple(boxes[i].tolist()), color, (Row(text, color),))
        for i, color, text in zip(chosen, colors, texts)
    ]
    return draw_marks(image, marks, Style(**style))


def draw_pseudo_labels(
    image: np.ndarray,
    boxes: Any,
    names: Sequence[str],
    scores: Any,
    caption: str | None = None,
    colors: Sequence[str | Color] | None = None,
    max_regions: int | None = None,
    **style: Any,
) -> np.ndarray:
    """Draw what a teacher calls regions, and below the image the caption it came with.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: ``(N, 4)``.
        names: ``N`` names, as of ``RegionCLIP.predict``'s labels.
        scores: ``(N,)``, the teacher's probabilities.
        caption: Text below the image.
        colors: As in ``draw_detections``: for example right and wrong.
        max_regions: The most probable so many are drawn.
        **style: See the module.

    Raises:
        ValueError: As ``draw_detections``.
    """
    scores, names = as_array(scores).reshape(-1), list(names)
    chosen = np.argsort(-scores, kind='stable')[:max_regions]
    image = draw_detections(
        image,
        as_array(boxes).reshape(-1, 4)[chosen],
        [names[i] for i in chosen],
        scores[chosen],
        None if colors is None else [colors[i] for i in chosen],
        **style,
    )
    if not caption:
        return image
    look = {k: v for k, v in style.items() if k in ('font', 'font_size')}
    return np.concatenate([image, text_strip(caption, image, **look)])


def side_by_side(*images: np.ndarray, gap: int | None = None) -> np.ndarray:
    """Images of equal height in a row, with a white gap between them.

    Args:
        *images: uint8 ``(H, W_i, 3)``.
        gap: In pixels; None: a hundredth of the height, 0: none.
    """
    height = images[0].shape[0]
    gap = max(2, height // 100) if gap is None else gap
    space = np.full((height, gap, 3), 255, dtype=np.uint8)
    parts = [part for image in images for part in (space, image)][1:]
    return np.concatenate(parts, axis=1)


def text_strip(
    text: str,
    image: np.ndarray,
    color: str | Color = BLACK,
    font: Any = None,
    font_size: int | None = None,
    max_lines: int = 3,
) -> np.ndarray:
    """A white strip as wide as an image with text on it, to be put above or below.

    Args:
        text: What does not fit ends in an ellipsis.
        image: uint8 ``(H, W, 3)``.
        color: Of the text.
        font: As in ``FontChain``.
        font_size: None: as of labels on the image.
        max_lines: Lines that are shown.
    """
    fonts, width = FontChain(font), image.shape[1]
    size = font_size or Style().font_pixels(image.shape[1::-1], 1)
    ascent, descent = fonts.line_height(size)
    lines = break_line(text, fonts, size, width - size, max_lines) or ['']
    strip = Image.new('RGB', (width, (ascent + descent) * len(lines) + size // 2), WHITE)
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        x, baseline = size / 2, size // 4 + i * (ascent + descent) + ascent
        for piece, face in fonts.runs(line, size):
            draw.text((x, baseline), piece, fill=parse_color(color), font=face, anchor='ls')
            x += face.getlength(piece)
    return np.array(strip)


def labeled(name: str, score: float) -> str:
    """A name with its score: no percentage, since fused scores may exceed 1."""
    return f'{name} {score:.2f}' if abs(score) >= 0.1 else f'{name} {score:.3f}'


def as_array(values: Any) -> np.ndarray:
    """Numbers of an array, a list or a tensor on any device, as float64."""
    if hasattr(values, 'detach'):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=float)
