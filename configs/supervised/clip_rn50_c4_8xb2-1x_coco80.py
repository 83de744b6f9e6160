# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO, all 80 classes: RN50 from OpenAI's CLIP, settings of OV-COCO.

    bash tools/dist_train.sh configs/supervised/clip_rn50_c4_8xb2-1x_coco80.py 8
    python tools/test.py configs/supervised/clip_rn50_c4_8xb2-1x_coco80.py \
        work_dirs/clip_rn50_c4_8xb2-1x_coco80/iter_90000.pth
"""

_base_ = './regionclip_rn50_c4_8xb2-1x_coco80.py'

load_from = 'checkpoints/clip_rn50_with_rpn_coco_80.pth'
