# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Zero-shot: OpenAI's CLIP RN50 names annotated boxes with the 65 names of OV-COCO.

    python tools/test.py configs/zero_shot/clip_rn50_gt_zero-shot_coco65.py \
        checkpoints/clip_rn50.pth

Published AP50, novel / base / all: 58.6 / 58.2 / 58.3 (recalled from the paper, table 4).
Not yet run here.
One GPU; memory not found.
"""

_base_ = './regionclip_rn50_gt_zero-shot_coco65.py'

load_from = 'checkpoints/clip_rn50.pth'
