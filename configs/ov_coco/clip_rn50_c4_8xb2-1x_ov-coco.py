# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: RN50 from OpenAI's CLIP, trained on 48 classes, tested on 65.

    bash tools/dist_train.sh configs/ov_coco/clip_rn50_c4_8xb2-1x_ov-coco.py 8
    python tools/test.py configs/ov_coco/clip_rn50_c4_8xb2-1x_ov-coco.py \
        work_dirs/clip_rn50_c4_8xb2-1x_ov-coco/iter_90000.pth

8 GPUs; 15.8 GB each in a user's log of the official code (thread 7 of its repository).
"""

_base_ = './regionclip_rn50_c4_8xb2-1x_ov-coco.py'

load_from = 'checkpoints/clip_rn50_with_rpn_coco_48.pth'
