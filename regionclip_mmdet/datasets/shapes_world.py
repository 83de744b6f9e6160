# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The classes of the shapes world, and its detection data.

The world is a small, deterministic stand-in for real data: ``tools/data/make_shapes_world.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from ..renames import old_names
from .broken_images import BrokenImagePolicy
from .named_splits import NamedSplits
from .proposal_file import ProposalFile

__all__ = [
    'BASE_CLASSES',
    'CATEGORY_IDS',
    'CLASSES',
    'COLORS',
    'NOVEL_CLASSES',
    'SHAPES',
    'ShapesWorldDataset',
]

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


def _palette(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Drawing color of each class: that of the object, darker from shape to shape."""
    colors = []
    for name in classes:
        color, shape = name.split()
        shade = 1 - 0.5 * SHAPES.index(shape) / len(SHAPES)
        colors.append(tuple(int(v * shade) for v in COLORS[color]))
    return colors


@DATASETS.register_module()
class ShapesWorldDataset(NamedSplits, BrokenImagePolicy, ProposalFile, CocoDataset):
    """COCO-format boxes of a shapes world, with its base/novel split as metainfo.

    mmdet's ``OVCocoMetric`` reads ``classes``, ``base_classes`` and ``novel_classes`` from here.
    Its results are ``base_ap50``, ``novel_ap50``, ``base_ap``, ``novel_ap``, and for all classes
    ``bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s``, ``bbox_mAP_m``, ``bbox_mAP_l``,
    each with the prefix 'coco/'.

    Args:
        class_split: Which classes the labels count through: 'all' (64; ``instances.json``),
            'base' (48; for training, with ``instances_base.json``) or 'novel' (16).
        *args: As in mmdet's ``CocoDataset``.
        **kwargs: As in ``NamedSplits`` and mmdet's ``CocoDataset``; ``proposal_file`` is checked,
            see ``ProposalFile``; ``skip_broken`` as in ``BrokenImagePolicy``.
    """

    METAINFO: ClassVar[dict] = {
        'classes': CLASSES,
        'base_classes': BASE_CLASSES,
        'novel_classes': NOVEL_CLASSES,
        'palette': _palette(CLASSES),
    }
    CLASS_SPLITS: ClassVar[dict] = {
        'all': CLASSES,
        'base': BASE_CLASSES,
        'novel': NOVEL_CLASSES,
    }
    FILE_HINT: ClassVar[str] = (
        "Use instances.json for all 64 classes, or class_split='base' with instances_base.json."
    )


_GENERATOR = ('ShapesWorldSpec', 'is_complete', 'make_shapes_world', 'sample_image')
__getattr__ = old_names(
    __name__,
    {name: f'examples.shapes_world.{name}' for name in _GENERATOR}
    | {'COLOURS': f'{__name__}.COLORS'},
)
