# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Ablation of pretraining on COCO captions: each image and caption judged for itself (SigLIP).

    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-23k_coco-captions_image-text-sigmoid.py 8

Scale and bias begin as in the paper of the loss.
"""

_base_ = './regionclip_rn50_32xb3-23k_coco-captions.py'

model = dict(
    roi_head=dict(
        loss_image_text=dict(_delete_=True, type='ImageTextSigmoidLoss', scale=10.0, bias=-10.0)
    )
)
