# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'ov_lvis/clip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py'
    )
]
