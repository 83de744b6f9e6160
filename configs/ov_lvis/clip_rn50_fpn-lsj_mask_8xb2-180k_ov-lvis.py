# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""OV-LVIS: RN50 from OpenAI's CLIP, trained on 866 classes, tested on 1203; masks.

    bash tools/dist_train.sh configs/ov_lvis/clip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py 8
    python tools/test.py configs/ov_lvis/clip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py \
        work_dirs/clip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis/iter_180000.pth

16 images per iteration.
"""

_base_ = './regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py'

load_from = 'checkpoints/clip_rn50_with_rpn_lvis_866_lsj.pth'
