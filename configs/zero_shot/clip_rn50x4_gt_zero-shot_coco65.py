# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot: OpenAI's CLIP RN50x4 names annotated boxes with the 65 names of OV-COCO.

    python tools/test.py configs/zero_shot/clip_rn50x4_gt_zero-shot_coco65.py \
        checkpoints/clip_rn50x4.pth

Published: not found (the paper has it in table 4). Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50x4_gt_zero-shot_coco65.py'

load_from = 'checkpoints/clip_rn50x4.pth'
