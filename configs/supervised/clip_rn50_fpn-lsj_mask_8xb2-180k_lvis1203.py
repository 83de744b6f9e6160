# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""LVIS, all 1203 classes: RN50 from OpenAI's CLIP, settings of OV-LVIS; masks.

    bash tools/dist_train.sh configs/supervised/clip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py 8
    python tools/test.py configs/supervised/clip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py \
        work_dirs/clip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203/iter_180000.pth

The official localizer of this experiment has a CLIP backbone, which is not supported here: this
one uses the localizer of OV-LVIS.
"""

_base_ = './regionclip_rn50_fpn-lsj_mask_8xb2-180k_lvis1203.py'

load_from = 'checkpoints/clip_rn50_with_rpn_lvis_866_lsj.pth'
