# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO and LVIS with their splits into base and novel classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmdet.datasets import CocoDataset, LVISV1Dataset
from mmdet.registry import DATASETS

from .broken_images import BrokenImagePolicy
from .categories import (
    COCO_80,
    LVIS_V1,
    LVIS_V1_NAMES,
    OV_COCO_ALL,
    OV_COCO_BASE,
    OV_COCO_NOVEL,
    OV_LVIS_BASE,
    OV_LVIS_NOVEL,
)
from .named_splits import NamedSplits
from .proposal_file import ProposalFile


@DATASETS.register_module()
class OVCocoDataset(NamedSplits, BrokenImagePolicy, ProposalFile, CocoDataset):
    """COCO for open-vocabulary detection: 48 base and 17 novel names (Bansal et al., ECCV 2018).

    Files are those of ``tools/data/prepare_ov_coco.py``, or COCO's own with all 80 categories: of
    these mmdet takes the classes of the split and ignores the rest, but in testing keeps images
    that have none of them.

    Args:
        class_split: 'all' (65 names), 'base' (48), 'novel' (17) or 'coco80'. By COCO's ids.
        *args: As in mmdet's ``CocoDataset``.
        **kwargs: As in ``NamedSplits``, ``BrokenImagePolicy``, ``ProposalFile`` and mmdet's
            ``CocoDataset``.
    """

    METAINFO: ClassVar[dict] = {
        'classes': COCO_80,
        'base_classes': OV_COCO_BASE,
        'novel_classes': OV_COCO_NOVEL,
        'palette': CocoDataset.METAINFO['palette'],
    }
    CLASS_SPLITS: ClassVar[dict] = {
        'all': OV_COCO_ALL,
        'base': OV_COCO_BASE,
        'novel': OV_COCO_NOVEL,
        'coco80': COCO_80,
    }


@DATASETS.register_module()
class OVLVISDataset(NamedSplits, BrokenImagePolicy, ProposalFile, LVISV1Dataset):
    """LVIS v1 for open-vocabulary detection: 866 base names, 337 rare ones novel.

    Names are those of the LVIS files; mmdet's list spells one of them otherwise
    ('speaker_(stereo_equipment)'). mmdet numbers labels through *all* categories of an LVIS file,
    so the file must hold the split's alone: ``tools/data/prepare_ov_lvis.py`` makes them. Images
    lie where ``coco_url`` says, as mmdet has it, or else ``file_name``.

    Args:
        class_split: 'all' (1203 names), 'base' (866) or 'novel' (337). By LVIS' ids.
        *args: As in mmdet's ``LVISV1Dataset``.
        **kwargs: As in ``NamedSplits``, ``BrokenImagePolicy``, ``ProposalFile`` and mmdet's
            ``LVISV1Dataset``.
    """

    METAINFO: ClassVar[dict] = {
        'classes': LVIS_V1_NAMES,
        'base_classes': OV_LVIS_BASE,
        'novel_classes': OV_LVIS_NOVEL,
        'palette': None,
        'frequencies': tuple(category.frequency for category in LVIS_V1),
    }
    CLASS_SPLITS: ClassVar[dict] = {
        'all': LVIS_V1_NAMES,
        'base': OV_LVIS_BASE,
        'novel': OV_LVIS_NOVEL,
    }
    IMAGE_KEYS: ClassVar[tuple[str, str]] = ('coco_url', 'file_name')

    def check_categories(self, names: Sequence[str]) -> None:
        """Refuse a file whose categories are not the split's, all of them and in order."""
        super().check_categories(names)
        more = sorted(set(names) - set(self.metainfo['classes']))
        if more:
            raise ValueError(
                f'{self.ann_file} has {len(more)} categories beside the '
                f'{len(self.metainfo["classes"])} classes, e.g. {more[0]!r}; they would shift all '
                f'labels. {self.FILE_HINT}'
            )
