# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Ablation of pretraining on COCO captions: only whole images and captions are compared.

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-23k_coco-captions_image-text-only.py 8
"""

_base_ = './regionclip_rn50_32xb3-23k_coco-captions.py'

model = dict(
    teacher=None,
    localizer=None,
    roi_head=dict(region_text_head=None),
)
