# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Ablation of pretraining on COCO captions: regions are random boxes, no localizer.

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-23k_coco-captions_random-regions.py 8
"""

_base_ = './regionclip_rn50_32xb3-23k_coco-captions.py'

model = dict(localizer=None)
train_dataloader = dict(dataset=dict(pipeline={{_base_.random_regions_pipeline}}))
