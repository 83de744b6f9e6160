# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'pretrain/regionclip_rn50_rn50x4-teacher_32xb3-23k_coco-captions.py'
    )
]
