# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detection data of the shapes world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .broken_images import BrokenImagePolicy
from .named_splits import NamedSplits
from .proposal_file import ProposalFile
from .shapes_world.splits import BASE_CLASSES, CLASSES, COLORS, NOVEL_CLASSES, SHAPES


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
