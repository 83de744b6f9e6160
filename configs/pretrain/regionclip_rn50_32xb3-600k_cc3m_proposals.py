# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pretraining on CC3M shards with precomputed proposals: student RN50, teacher RN50.

    torchrun --nproc_per_node 8 tools/pretrain/precompute_proposals.py \
        configs/pretrain/regionclip_rn50_32xb3-600k_cc3m_proposals.py --launcher pytorch
    NNODES=4 NODE_RANK=N MASTER_ADDR=HOST bash tools/dist_train.sh \
        configs/pretrain/regionclip_rn50_32xb3-600k_cc3m_proposals.py 8

The first command runs the localizer once over all images, at the size of training. The second
trains as regionclip_rn50_32xb3-600k_cc3m.py does, without it.

Published after transfer to OV-COCO, with the localizer in the loop: novel AP50 31.4, all 50.4
(official model zoo).
"""

_base_ = [
    '../_base_/models/regionclip_rn50_pretrain.py',
    '../_base_/datasets/cc3m_shards_proposals_image_text.py',
    '../_base_/schedules/pretrain_600k.py',
    '../_base_/pretrain_runtime.py',
]

# the variable localizer stays, for the first command
model = dict(localizer=None)
