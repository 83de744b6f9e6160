# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Ablation of pretraining on COCO captions: only the teacher's probabilities are learned.

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-23k_coco-captions_distill-only.py 8
"""

_base_ = './regionclip_rn50_32xb3-23k_coco-captions.py'

model = dict(
    text_encoder=None,
    roi_head=dict(region_text_head=dict(loss_contrast=None), loss_image_text=None),
)
