# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on COCO captions: student RN50, teacher RN50.

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-23k_coco-captions.py 8

The length is a choice of this project; see the schedule. 32 GPUs x 3 images, or see
tools/scale_schedule.py.
"""

_base_ = [
    '../_base_/models/regionclip_rn50_pretrain.py',
    '../_base_/datasets/coco_captions_image_text.py',
    '../_base_/schedules/pretrain_coco_23k.py',
    '../_base_/pretrain_runtime.py',
]
