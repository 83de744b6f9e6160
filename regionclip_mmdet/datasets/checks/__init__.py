# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of what datasets and metrics get, before anything is trained or evaluated.

* ``check_coco``: a COCO or LVIS file is an object with images, annotations and categories, each
  with a distinct id; images have a file name and a size, categories distinct names, annotations
  known images and categories, four finite numbers as box, an area, and 0 or 1 as flags; at most
  half of the boxes are unusable.
* ``check_masks``: where masks are wanted, pycocotools can read them.
* ``check_classes``: the categories of the file are the classes of the dataset, in their order.
* ``class_names``, ``check_split``: class names are a list of strings, split into base and novel.
"""

from .classes import check_classes, check_split, class_names
from .coco import LVIS_LISTS, CocoReport, check_coco, is_id_list, shown
from .masks import check_masks, mask_problem

__all__ = [
    'LVIS_LISTS',
    'CocoReport',
    'check_classes',
    'check_coco',
    'check_masks',
    'check_split',
    'class_names',
    'is_id_list',
    'mask_problem',
    'shown',
]
