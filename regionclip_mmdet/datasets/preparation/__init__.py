# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From public annotation files to those of the open-vocabulary benchmarks."""

from ...renames import old_names
from .files import read_annotations, write_all
from .image_text import index_image_text
from .inspect_image_text import inspect_image_text, sheet_of_pairs
from .ov_coco import OVCocoSplit, prepare_ov_coco_train, prepare_ov_coco_val
from .ov_lvis import prepare_ov_lvis_train, prepare_ov_lvis_val, read_image_ids
from .pack_shards import pack_shards
from .subsets import keep_categories, keep_images

__all__ = [
    'OVCocoSplit',
    'index_image_text',
    'inspect_image_text',
    'keep_categories',
    'keep_images',
    'pack_shards',
    'prepare_ov_coco_train',
    'prepare_ov_coco_val',
    'prepare_ov_lvis_train',
    'prepare_ov_lvis_val',
    'read_annotations',
    'read_image_ids',
    'sheet_of_pairs',
    'write_all',
]

__getattr__ = old_names(__name__, dict(contact_sheet=f'{__name__}.sheet_of_pairs'))
