# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of the shapes world: 8 colors x 8 shapes, split into base and novel pairs."""

from __future__ import annotations

# Name -> RGB. Far apart in hue or lightness, so that jitter never turns one into another.
COLORS: dict[str, tuple[int, int, int]] = {
    'red': (214, 32, 38),
    'orange': (250, 138, 20),
    'yellow': (248, 226, 48),
    'green': (38, 158, 60),
    'cyan': (50, 208, 222),
    'blue': (36, 76, 214),
    'purple': (136, 46, 176),
    'white': (244, 244, 244),
}
SHAPES: tuple[str, ...] = (
    'circle',
    'square',
    'triangle',
    'star',
    'cross',
    'heart',
    'ring',
    'moon',
)
# A pair is novel if (shape index - color index) mod 8 is one of these: two cells of a Latin
# square, so every color lacks two shapes and every shape two colors, none lacks all.
NOVEL_OFFSETS: tuple[int, ...] = (0, 3)


def _is_novel(color_index: int, shape_index: int) -> bool:
    return (shape_index - color_index) % len(SHAPES) in NOVEL_OFFSETS


def class_name(color: str, shape: str) -> str:
    """Category name of a color-shape pair, for example 'red circle'."""
    return f'{color} {shape}'


# Category order everywhere: annotation files, dataset metainfo, vocabularies.
CLASSES: tuple[str, ...] = tuple(class_name(c, s) for c in COLORS for s in SHAPES)
NOVEL_CLASSES: tuple[str, ...] = tuple(
    class_name(c, s) for i, c in enumerate(COLORS) for j, s in enumerate(SHAPES) if _is_novel(i, j)
)
BASE_CLASSES: tuple[str, ...] = tuple(name for name in CLASSES if name not in NOVEL_CLASSES)
CATEGORY_IDS: dict[str, int] = {name: i + 1 for i, name in enumerate(CLASSES)}
