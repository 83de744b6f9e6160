# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'supervised/clip_rn50_c4_8xb2-1x_coco80.py'
    )
]
