# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detection data of the shapes world."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load

from .proposal_file import ProposalFile
from .shapes_world.splits import BASE_CLASSES, CLASSES, COLOURS, NOVEL_CLASSES, SHAPES


def _palette(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Drawing colour of each class: that of the object, darker from shape to shape."""
    colours = []
    for name in classes:
        colour, shape = name.split()
        shade = 1 - 0.5 * SHAPES.index(shape) / len(SHAPES)
        colours.append(tuple(int(v * shade) for v in COLOURS[colour]))
    return colours


@DATASETS.register_module()
class ShapesWorldDataset(ProposalFile, CocoDataset):
    """COCO-format boxes of a shapes world, with its base/novel split as metainfo.

    mmdet's ``OVCocoMetric`` reads ``classes``, ``base_classes`` and ``novel_classes`` from here.
    Its results are ``base_ap50``, ``novel_ap50``, ``base_ap``, ``novel_ap``, and for all classes
    ``bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s``, ``bbox_mAP_m``, ``bbox_mAP_l``,
    each with the prefix 'coco/'.

    Args:
        class_split: Which classes the labels count through: 'all' (64; ``instances.json``),
            'base' (48; for training, with ``instances_base.json``) or 'novel' (16).
        metainfo: As in mmdet; its ``classes``, if given, win over ``class_split``.
        *args: As in mmdet's ``CocoDataset``.
        **kwargs: As in mmdet's ``CocoDataset``; ``proposal_file`` is checked, see ``ProposalFile``.
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

    def __init__(
        self,
        *args: Any,
        class_split: str = 'all',
        metainfo: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if class_split not in self.CLASS_SPLITS:
            raise ValueError(
                f'{type(self).__name__}: unknown class_split {class_split!r}; choose from '
                f'{list(self.CLASS_SPLITS)}'
            )
        classes = self.CLASS_SPLITS[class_split]
        defaults = {'classes': classes, 'palette': _palette(classes)}
        super().__init__(*args, metainfo={**defaults, **(metainfo or {})}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the annotations, after checking that labels will mean what the metainfo says.

        mmdet numbers labels by the category order of the *file* and drops classes that the file
        lacks without a word; a different order or a missing class would shift every label.
        """
        in_file = [
            category['name']
            for category in load(self.ann_file, backend_args=self.backend_args)['categories']
        ]
        wanted = list(self.metainfo['classes'])
        found = [name for name in in_file if name in set(wanted)]
        missing = [name for name in wanted if name not in in_file]
        if missing:
            raise ValueError(
                f'{self.ann_file} has no categories {missing[:5]} ({len(missing)} of '
                f'{len(wanted)} classes missing). Use instances.json for all 64 classes, or '
                "class_split='base' with instances_base.json."
            )
        if found != wanted:
            pairs = enumerate(zip_longest(found, wanted))
            place, theirs, ours = next((i, a, b) for i, (a, b) in pairs if a != b)
            raise ValueError(
                f'{self.ann_file} lists its categories in another order than the dataset: at '
                f'place {place} it has {theirs!r} instead of {ours!r}. Give the '
                'classes in the order of the file.'
            )
        return super().load_data_list()
