# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'zero_shot/clip_rn50x4_gt_cls_lvis.py'
    )
]
