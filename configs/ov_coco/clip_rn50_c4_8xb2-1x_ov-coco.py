# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-COCO: RN50 from OpenAI's CLIP, trained on 48 names, tested on 65.

    bash tools/dist_train.sh configs/ov_coco/clip_rn50_c4_8xb2-1x_ov-coco.py 8
    python tools/test.py configs/ov_coco/clip_rn50_c4_8xb2-1x_ov-coco.py \
        work_dirs/clip_rn50_c4_8xb2-1x_ov-coco/iter_90000.pth

Published AP50, novel / base / all: 14.2 / 52.8 / 42.7
(recalled from the paper, table 1). Not yet run here.
8 GPUs; about 16 GB each (a user's log of the official code).
"""

_base_ = './regionclip_rn50_c4_8xb2-1x_ov-coco.py'

load_from = 'checkpoints/clip_rn50_with_rpn_coco_48.pth'
