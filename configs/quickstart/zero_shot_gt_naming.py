# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'quickstart/zero_shot_gt_cls.py'
    )
]
