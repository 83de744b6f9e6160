# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on CC3M: student RN50x4, teacher RN50x4.

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50x4_32xb3-600k_cc3m.py 8

32 GPUs x 3 images; about 6 days on 32 V100 for RN50 (its author, thread 50 of the official
repository).
"""

_base_ = [
    '../_base_/models/regionclip_rn50x4_pretrain.py',
    '../_base_/datasets/cc3m_image_text.py',
    '../_base_/schedules/pretrain_600k.py',
    '../_base_/pretrain_runtime.py',
]
