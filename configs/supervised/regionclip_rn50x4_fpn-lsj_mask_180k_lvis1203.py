# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'supervised/regionclip_rn50x4_fpn-lsj_mask_8xb2-180k_lvis1203.py'
    )
]
