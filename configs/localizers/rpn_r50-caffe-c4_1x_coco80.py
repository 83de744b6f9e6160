# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
_base_ = [
    __import__('regionclip_mmdet').config_paths.renamed(
        'localizers/rpn_r50-caffe-c4_8xb2-1x_coco80.py'
    )
]
