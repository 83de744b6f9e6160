# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Signs: six names with boxes to train on, two without."""

from mmdet.registry import DATASETS

from regionclip_mmdet.datasets import OVCocoDataset

BASE = ('yellow star', 'blue ring', 'red heart', 'green cross', 'white moon', 'purple triangle')
NOVEL = ('orange circle', 'cyan square')


@DATASETS.register_module()
class SignDataset(OVCocoDataset):
    """COCO-format files with the names of this project; ``class_split`` is 'base' or 'all'."""

    METAINFO = dict(classes=BASE + NOVEL, base_classes=BASE, novel_classes=NOVEL, palette=None)
    CLASS_SPLITS = dict(all=BASE + NOVEL, base=BASE)
    FILE_HINT = 'Files of the signs project have 6 categories for training and 8 for tests.'
